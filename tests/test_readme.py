"""The code of the README runs, and its commands name scripts, configs and keys that exist."""

import importlib
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gconv_gan.commands.compare_layers import stored_results
from gconv_gan.config.base import Config
from gconv_gan.config.load import load_config, parse_command
from gconv_gan.config.sections.classifiers import ClassifierRunConfig
from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.experiments.report import overview

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[list[str]]:
    lines = [line for block in blocks("sh") for line in block.replace("\\\n", " ").splitlines()]
    lines += [
        code
        for code in re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", README, flags=re.DOTALL))
        if re.match(r"(python|accelerate launch) ", code)
    ]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def script_and_arguments(words: list[str]) -> tuple[str, list[str]]:
    at = next((index for index, word in enumerate(words) if word.endswith(".py")), None)
    return ("", []) if at is None else (words[at], words[at + 1 :])


@pytest.mark.parametrize("code", blocks("python"))
def test_its_code_runs(code: str) -> None:
    exec(compile(code, "README.md", "exec"), {})


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_its_commands_name_what_exists(words: list[str]) -> None:
    script, arguments = script_and_arguments(words)
    if script:
        assert (ROOT / script).is_file()
    elif "-m" in words:
        assert (ROOT / (words[words.index("-m") + 1].replace(".", "/") + ".py")).is_file()
    elif words[0] == "make":
        assert f"\n{words[1]}:" in (ROOT / "Makefile").read_text()
    if script in ("train_gan.py", "train_classifier.py"):
        overrides = [argument for argument in arguments[1:] if argument != "--dry-run"]
        load_config(GANRunConfig if script == "train_gan.py" else ClassifierRunConfig, ROOT / arguments[0], overrides)


class Parsed(Exception):  # noqa: N818
    """Raised after the command line was parsed, to stop the command."""


def recipe_commands() -> list[tuple[str, list[str]]]:
    """Return the recipe that each command starts, and its arguments, for those that parse a command line of their own."""
    found = []
    for words in commands():
        script, arguments = script_and_arguments(words)
        if not script and "-m" in words:
            at = words.index("-m") + 1
            script, arguments = words[at].replace(".", "/") + ".py", words[at + 1 :]
        named = re.search(r"run_command\(\"(gconv_gan\.[\w.]+)\"\)", (ROOT / script).read_text()) if script else None
        if named and hasattr(importlib.import_module(named[1]), "parse_command"):
            found.append((named[1], arguments))
    return found


@pytest.mark.parametrize(("module", "arguments"), recipe_commands(), ids=str)
def test_its_commands_take_these_arguments(module: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = importlib.import_module(module)

    def parse_and_stop(model: type[Config], given: Sequence[str], **options: Any) -> None:
        raise Parsed(parse_command(model, given, **options))

    monkeypatch.setattr(recipe, "parse_command", parse_and_stop)
    with pytest.raises(Parsed):
        recipe.main(arguments)


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#]+)\)", README))
def test_its_links_have_targets(target: str) -> None:
    assert target.startswith("http") or (ROOT / target).exists()


def test_its_table_of_layers_is_that_of_the_stored_results() -> None:
    rows = overview(stored_results(ROOT / "eval" / "results"))
    assert len(rows) > 3
    missing = [row for row in rows if row not in README.splitlines()]
    assert not missing, "python eval/compare_layers.py --table prints the rows"
