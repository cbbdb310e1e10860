"""The exported folder is what the Hub expects: header, snippet, picture, no places of this machine; and it is uploaded."""

import re
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import ModelCard
from PIL import Image

from gconv_gan.api import load
from gconv_gan.commands import export as exporting
from gconv_gan.commands.score import scores
from gconv_gan.config.errors import UserError
from tests.processes import run_python

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tiny_run: Path, judge: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scored run, exported."""
    base = tmp_path_factory.mktemp("hub")
    run = Path(shutil.copytree(tiny_run, base / "tiny", ignore=shutil.ignore_patterns("scores")))
    few = ["--num-fake", "300", "--num-real", "80", "--cache-dir", str(base / "cache"), "--metrics", "fid"]
    scores.main([str(run), "--extractor", f"checkpoint:{judge}", *few])
    exporting.main([str(run), "--out", str(base / "model")])
    return base / "model"


def test_the_header_is_read_by_the_hub_s_own_library(folder: Path) -> None:
    card = ModelCard.load(folder / "README.md")
    assert card.data.library_name == "gconv_gan"
    assert card.data.license == "cc-by-4.0"
    assert {"gan", "class-conditional", "gconv"} <= set(card.data.tags or ())
    assert card.data.metrics == ["fd"]
    (result,) = card.data.eval_results or ()
    printed = re.search(r"^\| fd \| (\S+) \|$", card.text, re.MULTILINE)
    assert printed is not None
    assert float(printed[1]) == pytest.approx(result.metric_value, rel=1e-5)
    assert result.dataset_type == "digits"


ENVIRONMENT = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def test_the_snippet_of_the_card_runs_in_the_folder(folder: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(folder, tmp_path / "moved"))
    (code,) = re.findall(r"```python\n(.*?)```", (moved / "README.md").read_text(), re.DOTALL)
    run_python(["-c", code], moved, ENVIRONMENT).check_returncode()
    with Image.open(moved / "sample.png") as picture:
        assert picture.size == (8, 8)
    (command,) = re.findall(r"```sh\n(.*?)\n```", (moved / "README.md").read_text(), re.DOTALL)
    words = command.removeprefix("gconv-gan ").split()
    run_python(["-m", "gconv_gan", *words], moved, ENVIRONMENT).check_returncode()
    assert (moved / "samples.zip").is_file()


def test_it_has_a_picture_and_no_absolute_path(folder: Path) -> None:
    with Image.open(folder / "samples.png") as picture:
        assert picture.width > 60
    assert "](samples.png)" in (folder / "README.md").read_text()
    for file in ("README.md", "config.json"):
        assert not re.search(r'["\s(:]/[\w.-]+/', (folder / file).read_text()), file
    assert load(folder).sample(2, seed=0).shape == (2, 3, 8, 8)


class StandIn:
    """Records what would be uploaded."""

    calls: list[tuple[str, Any]] = []
    error: Exception | None = None

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> str:
        if StandIn.error is not None:
            raise StandIn.error
        StandIn.calls.append(("create", (repo_id, private, exist_ok)))
        return f"https://huggingface.co/{repo_id}"

    def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> None:
        StandIn.calls.append(("upload", (repo_id, sorted(path.name for path in Path(folder_path).iterdir()), commit_message)))


def test_push_uploads_the_folder(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(huggingface_hub, "HfApi", StandIn)
    monkeypatch.setattr(StandIn, "calls", [])
    out = tmp_path / "model"
    exporting.main([str(tiny_run), "--out", str(out), "--no-onnx", "--push", "someone/digits", "--private"])
    assert StandIn.calls == [
        ("create", ("someone/digits", True, True)),
        ("upload", ("someone/digits", ["README.md", "config.json", "generator.safetensors", "samples.png"], "gconv_gan: model")),
    ]
    assert capsys.readouterr().out.endswith("uploaded to https://huggingface.co/someone/digits\n")
    assert 'huggingface_hub.snapshot_download("someone/digits")' in (out / "README.md").read_text()


def test_a_refusal_of_the_hub_is_one_sentence_and_the_folder_stays(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "HfApi", StandIn)
    monkeypatch.setattr(StandIn, "error", OSError("no route to host"))
    with pytest.raises(UserError, match=r"--push someone/digits: the Hub answered: no route to host; .*model is kept"):
        exporting.main([str(tiny_run), "--out", str(tmp_path / "model"), "--no-onnx", "--push", "someone/digits"])
    assert (tmp_path / "model" / "README.md").is_file()
