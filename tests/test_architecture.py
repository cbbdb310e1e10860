"""The structure of the package: one direction of imports, thin entry points, no catch-all modules."""

import ast
from pathlib import Path

import pytest

from tests.processes import run_python

ROOT = Path(__file__).parents[1]


def test_imports_go_one_way() -> None:
    # in a process of its own, since it disables the loggers that exist
    ended = run_python(["-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"], ROOT)
    assert ended.returncode == 0, ended.stdout


def test_networks_and_layers_never_see_a_config() -> None:
    allowed = {"factory.py", "summary.py", "tables.py", "changes.py"}
    for path in (*ROOT.glob("gconv_gan/layers/*.py"), *ROOT.glob("gconv_gan/models/*.py"), *ROOT.glob("gconv_gan/losses/*.py")):
        if path.name in allowed:
            continue
        modules = {node.module for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)}
        seen = {module for module in modules if module and module.startswith("gconv_gan.config")}
        assert seen <= {f"gconv_gan.config.{name}" for name in ("errors", "hints", "ranges", "schema")}, path


@pytest.mark.parametrize("path", [*ROOT.glob("*.py"), *ROOT.glob("eval/*.py")], ids=lambda path: path.name)
def test_an_entry_point_is_thin_and_says_how_it_is_run(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 25
    assert f"{path.name}" in (ast.get_docstring(ast.parse(text)) or "")


def test_there_are_no_catch_all_modules() -> None:
    assert not [path for name in ("utils", "helpers", "common", "misc") for path in ROOT.glob(f"gconv_gan/**/{name}.py")]
