"""The Python code of the pages in docs/ runs, block after block, in an empty folder."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def blocks(page: Path) -> str:
    """Return the Python blocks of a page as one program, at the lines that they have in the page."""
    lines = page.read_text().splitlines()
    program, inside = [], False
    for line in lines:
        if line.startswith("```"):
            inside = line == "```python"
            program.append("")
        else:
            program.append(line if inside else "")
    return "\n".join(program)


@pytest.mark.parametrize("name", ["python.md"])
def test_the_code_of_a_page_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_accelerate_state: None) -> None:
    page = ROOT / "docs" / name
    monkeypatch.chdir(tmp_path)
    program = blocks(page)
    assert re.search(r"^assert ", program, re.MULTILINE)
    exec(compile(program, str(page), "exec"), {"__name__": name})
