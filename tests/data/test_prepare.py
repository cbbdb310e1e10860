"""``python -m gconv_gan.data.prepare``: its output and its refusals."""

import re
import sys
from pathlib import Path

import pytest
from pydantic.fields import FieldInfo

from gconv_gan.config.errors import UserError
from gconv_gan.data import prepare
from gconv_gan.data.datasets import DATASETS
from tests.data.made import zipped
from tests.processes import run_python


def test_it_converts_and_prints_counts_and_path(pets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = pets.parent / "c"
    arguments = ["folder", "--path", str(zipped(pets, pets.parent / "p.zip")), "--split", "train", "--size", "8", "--cache-dir", str(cache)]
    prepare.main(arguments)
    printed = capsys.readouterr()
    for part in (
        "p: 6 images of 8×8, split train",
        "PNG 6",
        "2: cat 3, dog 3",
        f"cache    {cache}/folder-",
        "equals   none: your own pictures",
    ):
        assert part in printed.out
    assert printed.err.startswith("converting ")
    assert printed.err.count("\n") == 1
    prepare.main(arguments)
    assert capsys.readouterr().out == printed.out


def test_a_terminal_shows_a_progress_bar(pets: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    prepare.main(["folder", "--path", str(pets / "train"), "--size", "8", "--cache-dir", str(pets.parent / "c")])
    assert re.search(r"converting folder: 100%.* 6/6", capsys.readouterr().err)


def test_skipped_images_are_listed(pets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (pets / "test/cat/0.png").write_bytes(b"")
    where = ["folder", "--path", str(pets), "--split", "test", "--size", "8", "--cache-dir", str(pets.parent / "c")]
    with pytest.raises(UserError, match=r"test/cat/0\.png cannot be used \(the file is empty\)"):
        prepare.main(where)
    prepare.main([*where, "--damaged", "skip"])
    assert "skipped  test/cat/0.png: the file is empty" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "the first argument names the kind of data: digits, cifar10, "),
        (["pictures"], "the first argument names the kind of data"),
        (["folder"], "--path must be given"),
        (["folder", "--path", "/nowhere", "--splt", "x"], "unknown option --splt; did you mean --split?"),
        (["folder", "--path", "/nowhere"], "/nowhere does not exist"),
        (["cifar10", "--path", "/nowhere", "--download", "False"], "set --download true (170 MB)"),
        (["cifar1000"], "; did you mean cifar100?"),
        (["folder", "--path", "/nowhere", "--size", "33"], "'33'"),
        (["folder", "--path", "/no\udcffwhere"], r"/no\xffwhere is not valid UTF-8"),
    ],
)
def test_wrong_input_is_one_sentence(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError) as refused:
        prepare.main(arguments)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("kind", DATASETS)
def test_data_are_downloaded_unless_download_is_false(kind: str) -> None:
    path = ["--path", "x"] if DATASETS.models()[kind].model_fields.get("path", FieldInfo(default="")).is_required() else []
    if "download" in DATASETS.models()[kind].model_fields:
        assert prepare.config_of([kind, *path]).download
        assert not prepare.config_of([kind, *path, "--download", "False"]).download
        assert not DATASETS.models()[kind]().download  # training fetches nothing unless asked


@pytest.mark.parametrize("kind", DATASETS)
def test_every_kind_explains_its_keys(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        prepare.main([kind, "--help"])
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    for field in DATASETS.models()[kind].model_fields:
        assert (f"  --{field.replace('_', '-')}  " in printed) == (field != "kind")
    assert f" {kind} " in printed.splitlines()[0]


def test_the_verb_prints_needed_disk_space_and_result(pets: Path) -> None:
    command = ["-m", "gconv_gan", "prepare", "folder", "--path", str(pets / "train"), "--size", "64"]
    done = run_python([*command, "--cache-dir", str(pets.parent / "c")])
    assert re.match(r"converting .*: 6 images of 64×64 need 0\.0 GiB in .*/c, where [\d,.]+ GiB are free\n$", done.stderr)
    assert re.search(r"cache    .*/c/folder-\w+, 0\.1 MiB", done.stdout)


def test_the_module_runs_and_has_help() -> None:
    done = run_python(["-m", "gconv_gan.data.prepare", "--help"])
    for part in ("folder --path my.zip --split train", *(f"\n  {kind}\n" for kind in DATASETS)):
        assert part in done.stdout
