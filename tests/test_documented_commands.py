"""The commands of the README and of the pages in docs/ name scripts, verbs, configs and options that exist; the README's code runs."""

import importlib
import json
import os
import re
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gconv_gan.cli import COMPLETION
from gconv_gan.config.base import Config
from gconv_gan.config.load import load_config, parse_command
from gconv_gan.config.sections.classifiers import ClassifierRunConfig
from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.verbs import CONSOLE_SCRIPT, VERBS
from tests.processes import run_python

ROOT = Path(__file__).parents[1]
GENERATED = ("config.md", "options.md")  # without commands
PAGES = [ROOT / "README.md", *sorted(page for page in (ROOT / "docs").glob("*.md") if page.name not in GENERATED)]
TRAINING = {"gconv_gan.commands.train.gan": GANRunConfig, "gconv_gan.commands.train.classifier": ClassifierRunConfig}
STARTS = ("python", "accelerate", CONSOLE_SCRIPT, "make")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


def commands(*pages: Path) -> list[tuple[str, tuple[str, ...]]]:
    """Return (page, words) of every command in a shell block or between backticks."""
    found = {}
    for page in pages:
        lines = [line for block in blocks(page, "sh") for line in block.replace("\\\n", " ").splitlines()]
        prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
        lines += [code for code in re.findall(r"`([^`\n]+)`", prose) if code.startswith((*(f"{start} " for start in STARTS[:3]), "make "))]
        for line in lines:
            words = [word for word in shlex.split(line, comments=True) if "=" not in word or word.startswith("-")]
            if words and words[0] in STARTS and "…" not in line:
                found[page.name, tuple(words)] = None
    return list(found)


def module_and_arguments(words: Sequence[str]) -> tuple[str, list[str]]:
    """Return the module whose ``main`` the command calls, and its arguments; "" for a command that calls none."""
    if words[0] == CONSOLE_SCRIPT or "gconv_gan" in words[:-1]:
        at = words.index("gconv_gan") if "gconv_gan" in words else 0
        verb = words[at + 1]
        if verb == COMPLETION:
            return "gconv_gan.commands.completion", list(words[at + 2 :])
        assert verb in VERBS, f"{verb} is no verb"
        return VERBS[verb].module, list(words[at + 2 :])
    script = next((index for index, word in enumerate(words) if word.endswith(".py")), None)
    if script is None and "-m" in words:
        script = words.index("-m") + 1
        path = ROOT / (words[script].replace(".", "/") + ".py")
    elif script is not None:
        path = ROOT / words[script]
    else:
        return "", []
    assert path.is_file(), f"{path} does not exist"
    named = re.search(r"run_command\(\"(gconv_gan\.[\w.]+)\"\)", path.read_text())
    return (named[1], list(words[script + 1 :])) if named else ("", [])


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return run_python(words, folder, environment)


@pytest.mark.parametrize("code", blocks(ROOT / "README.md", "python"))
def test_the_code_of_the_readme_runs(code: str, tmp_path: Path) -> None:
    ended = run(tmp_path, "-c", code)  # in a process of its own, since a plug-in adds rows to the tables
    assert ended.returncode == 0, ended.stderr


def test_the_plug_in_of_the_readme_trains(tmp_path: Path) -> None:
    (code,) = [block for block in blocks(ROOT / "README.md", "python") if "parts." in block]
    (words,) = {words for _, words in commands(ROOT / "README.md") if "mine.py" in words}
    (tmp_path / "mine.py").write_text(code)
    small = ("--trainer.total-images", "64", "--trainer.batch-size", "32", "--generator.width", "8", "--discriminator.width", "8")
    ended = run(tmp_path, "-m", "gconv_gan", words[1], str(ROOT / words[2]), *words[3:], *small)
    assert ended.returncode == 0, ended.stderr
    assert json.loads((tmp_path / "runs" / "digits_gconv" / "config.json").read_text())["generator"]["conv"] == {
        "kind": "scaled",
        "factor": 0.5,
    }


class Parsed(Exception):  # noqa: N818
    """Raised after the command line was parsed, to stop the command."""


@pytest.mark.parametrize(("page", "words"), commands(*PAGES), ids=lambda value: value if isinstance(value, str) else " ".join(value))
def test_a_command_takes_these_arguments(page: str, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    if words[0] == "make":
        assert f"\n{words[1]}:" in (ROOT / "Makefile").read_text()
        return
    module, arguments = module_and_arguments(words)
    if not module:
        assert words[:2] in (("python", "-m"), ("accelerate", "launch")), words
        return
    if "--help" in arguments or not arguments:
        return
    if "mine.py" in arguments:
        return  # a plug-in that the page shows: tested with it
    monkeypatch.chdir(ROOT)
    if module in TRAINING:
        load_config(TRAINING[module], arguments[0], [argument for argument in arguments[1:] if argument != "--dry-run"])
        return
    command = importlib.import_module(module)
    if not hasattr(command, "parse_command"):
        assert callable(command.main)
        return

    def parse_and_stop(model: type[Config], given: Sequence[str], **options: Any) -> None:
        raise Parsed(parse_command(model, given, **options))

    monkeypatch.setattr(command, "parse_command", parse_and_stop)
    with pytest.raises(Parsed):
        command.main(arguments)


def links() -> list[tuple[str, str]]:
    return [(str(page.relative_to(ROOT)), target) for page in PAGES for target in re.findall(r"\]\(([^)#\s]+)\)", page.read_text())]


@pytest.mark.parametrize(("page", "target"), sorted(set(links())))
def test_links_have_targets(page: str, target: str) -> None:
    assert target.startswith("http") or ((ROOT / page).parent / target).exists()
