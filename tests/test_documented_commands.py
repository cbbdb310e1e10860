"""The commands of the README and of docs/ exist with these options, those that train make a dry run, and the README's code runs."""

import importlib
import importlib.util
import io
import json
import os
import re
import shlex
import subprocess
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gconv_gan.cli import COMPLETION
from gconv_gan.commands.train.dry_run import classifier_plan, gan_plan
from gconv_gan.commands.train.dry_run.step_time import StepTime
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


def dry_run(module: str, arguments: tuple[str, ...], done: set[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a dry run of a training command without measuring its time, unless another page has the command."""
    config, *rest = arguments
    if "--name" in rest:
        at = rest.index("--name")
        del rest[at : at + 2]
    if (key := (module, config, *rest)) in done:
        return
    done.add(key)
    for plan, measured in ((gan_plan, "gan_step_time"), (classifier_plan, "classifier_step_time")):
        monkeypatch.setattr(plan, measured, lambda *_, **__: StepTime(1.0, None))
    if "wandb" in rest and importlib.util.find_spec("wandb") is None:
        rest.remove("wandb")
    described = load_config(TRAINING[module], ROOT / config, rest)
    sections = [name for name in ("data", "test_data") if hasattr(getattr(described, name, None), "download")]
    if getattr(getattr(described, "split", None), "train", 1) < 1:
        rest += ["--split.train", "1"]  # the archive here is small
    fetch = [word for name in sections for word in (f"--{name.replace('_', '-')}.download", "true")]  # a dry run fetches nothing
    importlib.import_module(module).main([str(ROOT / config), *rest, *fetch, "--dry-run"])
    assert not (Path("runs") / described.name).exists()


class Parsed(Exception):  # noqa: N818
    """Raised after the command line was parsed, to stop the command."""


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder without data sets, but with the my.zip of a user and a cifar10.zip of ten classes."""
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "data").mkdir()
    stream = io.BytesIO()
    Image.new("RGB", (32, 32)).save(stream, "png")
    splits = [
        f"{split}/{label}/{index}.png" for split, count in (("train", 20), ("test", 2)) for label in range(10) for index in range(count)
    ]
    for file, names in (("my.zip", [f"{index}.png" for index in range(64)]), ("data/cifar10.zip", splits)):
        with zipfile.ZipFile(folder / file, "w") as archive:
            for name in names:
                archive.writestr(name, stream.getvalue())
    return folder


@pytest.fixture(scope="module")
def done() -> set[tuple[str, ...]]:
    """The dry runs that other pages have too."""
    return set()


RUNS_HERE = ("gconv_gan.models.summary", "gconv_gan.commands.completion")
"""Commands that run in a moment and write nothing."""


def runs_in_a_moment(module: str, arguments: Sequence[str]) -> bool:
    compared = module == "gconv_gan.commands.score.compare_scores" and all((ROOT / word).is_file() for word in arguments)
    return module in RUNS_HERE or compared


@pytest.mark.parametrize(("page", "words"), commands(*PAGES), ids=lambda value: value if isinstance(value, str) else " ".join(value))
def test_a_command_takes_these_arguments(
    page: str, words: tuple[str, ...], elsewhere: Path, done: set[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
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
    command = importlib.import_module(module)
    if module in TRAINING:
        monkeypatch.chdir(elsewhere)
        dry_run(module, tuple(argument for argument in arguments if argument != "--dry-run"), done, monkeypatch)
        return
    monkeypatch.chdir(ROOT)
    if runs_in_a_moment(module, arguments):
        command.main(arguments)
        return
    if not hasattr(command, "parse_command"):
        assert callable(command.main)
        return

    def parse_and_stop(model: type[Config], given: Sequence[str], **options: Any) -> None:
        raise Parsed(parse_command(model, given, **options))

    monkeypatch.setattr(command, "parse_command", parse_and_stop)
    with pytest.raises(Parsed):
        command.main(arguments)


def headed() -> list[tuple[str, tuple[str, ...]]]:
    """Return (file, words) of every command in the head of a config or of a script, without the options in brackets.

    A config alone (``gconv-gan train CONFIG``) is left out: ``tests/config/test_files.py`` loads them all.
    """
    found = {}
    for path in sorted([*(ROOT / "configs").glob("**/*.toml"), *(ROOT / "eval").glob("**/*.py")]):
        for line in path.read_text().splitlines():
            if (command := re.search(rf"(?:^#?\s*|``)((?:{'|'.join(STARTS[:3])}) [^`]+)", line)) and "…" not in line:
                words = shlex.split(re.sub(r"\[[^\]]*\]", "", command[1]), comments=True)
                if words[1:2] not in (["train"], ["classify"]) or len(words) > 3:
                    found[str(path.relative_to(ROOT)), tuple(words)] = None
    return list(found)


@pytest.mark.parametrize(("file", "words"), headed(), ids=lambda value: value if isinstance(value, str) else " ".join(value))
def test_a_command_in_the_head_of_a_file_takes_these_arguments(file: str, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    module, arguments = module_and_arguments(words)
    if module in TRAINING:
        assert arguments[0] == file
        load_config(TRAINING[module], Path(file), arguments[1:])
        return
    command = importlib.import_module(module)

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


def test_the_readme_links_every_page_once() -> None:
    linked = [target for page, target in links() if page == "README.md" and target.startswith("docs/")]
    assert sorted(linked) == sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))
