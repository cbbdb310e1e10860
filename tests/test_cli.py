"""The console script: its verbs start the commands, and its completion knows their options."""

import contextlib
import importlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from gconv_gan import cli
from gconv_gan.verbs import CONSOLE_SCRIPT, VERBS
from tests.processes import run_python

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return run_python(["-m", "gconv_gan", *words], env=ENVIRONMENT)


@pytest.mark.parametrize("words", [[], ["--help"], ["help"]])
def test_without_a_verb_it_lists_all(words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/gconv-gan", *words])
    cli.main()
    printed = capsys.readouterr().out
    assert all(f"  {name} {verb.arguments}" in printed and verb.summary in printed for name, verb in VERBS.items())


def test_a_misspelt_verb_is_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/gconv-gan", "galery"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    assert capsys.readouterr().err == "gconv-gan galery: there is no verb 'galery'; did you mean gallery?\n"


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_names_a_command_and_its_options(name: str) -> None:
    module = importlib.import_module(VERBS[name].module)
    assert callable(module.main)
    assert not VERBS[name].options or hasattr(module, VERBS[name].options)


def scripts() -> dict[str, str]:
    """Return the path of every script -> the module whose ``main`` it runs."""
    found = [ROOT / "train_gan.py", ROOT / "train_classifier.py", *sorted(ROOT.glob("eval/**/*.py"))]
    named = {str(path.relative_to(ROOT)): re.search(r'run_command\("([\w.]+)"', path.read_text()) for path in found}
    return {path: module[1] for path, module in named.items() if module}


HELPS = [
    *((CONSOLE_SCRIPT, [name], verb.module, verb.arguments) for name, verb in VERBS.items()),
    (CONSOLE_SCRIPT, ["prepare"], "gconv_gan.data.prepare", "folder"),
    (CONSOLE_SCRIPT, ["completion"], "gconv_gan.commands.completion", "SHELL"),
    *((path, [], module, "") for path, module in scripts().items()),
]


@pytest.mark.parametrize(
    ("program", "verb", "module", "arguments"), HELPS, ids=[f"{path} {' '.join(verb)}".strip() for path, verb, *_ in HELPS]
)
def test_every_help_has_one_form(
    program: str,
    verb: list[str],
    module: str,
    arguments: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", [program, *verb, "--help"])
    monkeypatch.delattr(sys.modules["__main__"], "__spec__")  # pytest's own
    monkeypatch.setenv("COLUMNS", "90")
    asked = [arguments, "--help"] if arguments == "folder" else ["--help"]
    with contextlib.suppress(SystemExit):
        importlib.import_module(module).main(asked)
    usage, empty, *rest = capsys.readouterr().out.splitlines()
    typed = f"python {program}" if program.endswith(".py") else " ".join([program, *verb])
    assert f"{usage} ".startswith(f"usage: {typed} {arguments}".rstrip() + " ")
    summary = rest[: rest.index("")]
    assert (empty, summary[-1][-1] in ".?") == ("", True)
    positional = re.split(r" --| \[--| \[options\]", usage.removeprefix(f"usage: {typed}"))[0].strip()
    described = [line.strip() for line in rest[: rest.index("options")] if re.match(r"  \S", line)]
    assert not positional or positional in ("KIND", "folder") or re.sub(r"  \[.*", "", " ".join(described)) == positional
    assert rest.index("options") < rest.index("  -h, --help" + " [SECTION]" * ("--dry-run" in usage))
    assert all(len(line) < 90 for line in rest if line.startswith("      "))


def test_the_installed_script_is_this_function() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {CONSOLE_SCRIPT: f"{cli.__name__}:{cli.main.__name__}"}


def test_a_verb_runs_its_command_under_its_name(tmp_path: Path) -> None:
    trained = run(
        "train", "configs/gan/digits_gconv.toml", "--runs-dir", str(tmp_path), "--name", "a", "--trainer.total-images", "64",
        "--trainer.batch-size", "32", "--trainer.n-dis", "1", "--generator.width", "8", "--discriminator.width", "8",
        "--data.cache-dir", str(tmp_path / "cache"),
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    assert shlex.split((tmp_path / "a" / "command.txt").read_text())[:3] == [CONSOLE_SCRIPT, "train", "configs/gan/digits_gconv.toml"]
    assert json.loads((tmp_path / "a" / "config.json").read_text())["generator"]["width"] == 8
    wrong = run("train", "configs/gan/digits_gconv.toml", "--runs-dir", str(tmp_path), "--generator.widht", "8")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("gconv-gan train: ")
    assert "did you mean --generator.width?" in wrong.stderr


def completed(script: str, *words: str) -> list[str]:
    """Return what bash offers for the last of ``words``."""
    quoted = " ".join(map(shlex.quote, words))
    call = f'{script}\nCOMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _gconv_gan; echo "${{COMPREPLY[@]}}"'
    return subprocess.run(["bash", "-c", call], capture_output=True, text=True, cwd=ROOT, check=True).stdout.split()


def test_completion_offers_verbs_options_kinds_and_paths() -> None:
    script = run("completion", "bash").stdout
    assert completed(script, "gconv-gan", "tr") == ["train"]
    assert completed(script, "gconv-gan", "score", "--ch") == ["--checkpoint"]
    assert completed(script, "gconv-gan", "score", "--js") == ["--json"]
    assert completed(script, "gconv-gan", "train", "--generator.conv.k") == ["--generator.conv.kind"]
    assert completed(script, "gconv-gan", "prepare", "cifar") == ["cifar10", "cifar100"]
    assert completed(script, "gconv-gan", "train", "configs/gan/digits") == ["configs/gan/digits_gconv.toml"]
