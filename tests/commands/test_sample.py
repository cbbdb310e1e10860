"""Samples as files: names, labels, archives, resuming, several processes, scores of the files, refusals."""

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gconv_gan.commands import export as exporting
from gconv_gan.commands import sample as sampling
from gconv_gan.commands.score import scores
from gconv_gan.commands.train.networks import load_run
from gconv_gan.config.errors import UserError
from gconv_gan.metrics.images.sources import FakeSource
from tests.processes import run_python

ROOT = Path(__file__).parents[2]


def pixels(path: Path) -> torch.Tensor:
    with Image.open(path) as image:
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.png")}


@pytest.fixture(scope="session")
def fakes(tiny_run: Path) -> FakeSource:
    """The images that the run is scored by."""
    return FakeSource(load_run(tiny_run).generator(), count=300, seed=0)


def test_files_are_the_images_of_the_scores_in_a_folder_for_each_class(tiny_run: Path, fakes: FakeSource, tmp_path: Path) -> None:
    sampling.main([str(tiny_run), "--num", "260", "--out", str(tmp_path / "out")])
    found = files(tmp_path / "out")
    assert len(found) == 260
    labels = torch.cat([fakes.block_labels(index) for index in range(2)])
    for number in (0, 7, 255, 256, 259):
        path = tmp_path / "out" / str(int(labels[number])) / f"seed0-{number:06d}.png"
        assert pixels(path).equal(fakes.block(number // 256)[number % 256])


def test_seeds_choose_images_and_a_label_a_class(tiny_run: Path, fakes: FakeSource, tmp_path: Path) -> None:
    sampling.main([str(tiny_run), "--seeds", "258,3-4", "--out", str(tmp_path / "a"), "--layout", "flat"])
    assert sorted(files(tmp_path / "a")) == ["seed0-000003.png", "seed0-000004.png", "seed0-000258.png"]
    assert pixels(tmp_path / "a" / "seed0-000258.png").equal(fakes.block(1)[2])
    for flag in ("--label", "--class"):
        out = tmp_path / flag.strip("-")
        sampling.main([str(tiny_run), "--num", "3", flag, "7", "--out", str(out)])
        assert sorted(files(out)) == [f"7/seed0-{number:06d}.png" for number in range(3)]


def test_the_list_of_labels_is_that_of_stylegan(tiny_run: Path, fakes: FakeSource, tmp_path: Path) -> None:
    sampling.main([str(tiny_run), "--num", "5", "--layout", "dataset_json", "--out", str(tmp_path / "set.zip")])
    with zipfile.ZipFile(tmp_path / "set.zip") as archive:
        listed = json.loads(archive.read("dataset.json"))["labels"]
        assert sorted(archive.namelist()) == sorted(["dataset.json", *(name for name, _ in listed)])
    assert listed == [[f"seed0-{number:06d}.png", int(label)] for number, label in enumerate(fakes.block_labels(0)[:5])]


def test_what_is_missing_or_cut_short_is_made_again_and_the_rest_is_kept(tiny_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    sampling.main([str(tiny_run), "--num", "20", "--out", str(out)])
    first = files(out)
    names = sorted(first)
    (out / names[0]).unlink()
    (out / names[1]).write_bytes(first[names[1]][:40])
    kept = (out / names[2]).stat().st_mtime_ns
    sampling.main([str(tiny_run), "--num", "20", "--out", str(out)])
    assert files(out) == first
    assert (out / names[2]).stat().st_mtime_ns == kept
    sampling.main([str(tiny_run), "--num", "24", "--out", str(out)])
    assert len(files(out)) == 24
    for other in (["--seed", "1"], ["--label", "2"], ["--truncation", "0.5"], ["--weights", "raw"], ["--layout", "flat"]):
        with pytest.raises(UserError, match="holds other samples: "):
            sampling.main([str(tiny_run), "--num", "20", "--out", str(out), *other])
    assert len(files(out)) == 24


def test_a_threshold_of_zero_is_refused(tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a truncation of 0 is for generators with a mapping network"):
        sampling.main([str(tiny_run), "--num", "1", "--truncation", "0", "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_two_processes_write_the_zip_that_one_writes(tiny_run: Path, tmp_path: Path) -> None:
    arguments = [str(tiny_run), "--num", "600", "--out"]
    sampling.main([*arguments, str(tmp_path / "one.zip")])
    command = ["-m", "gconv_gan", "sample", *arguments, str(tmp_path / "two.zip")]
    ended = run_python(command, tmp_path, {**os.environ, "PYTHONPATH": str(ROOT)}, launched=2)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.zip", "two.zip"]


def test_the_files_score_as_the_run_does(tiny_run: Path, run: Path, judge: Path, tmp_path: Path) -> None:
    sampling.main([str(tiny_run), "--num", "300", "--out", str(tmp_path / "fakes.zip")])
    sampling.main([str(tiny_run), "--num", "200", "--seed", "9", "--out", str(tmp_path / "reals")])
    options = ["--reference", str(tmp_path / "reals"), "--extractor", f"checkpoint:{judge}", "--metrics", "fid", "kid"]
    found = []
    for name, source in (("run", run), ("files", tmp_path / "fakes.zip")):
        file = tmp_path / f"{name}.json"
        more = ["--num-fake", "300"] if name == "run" else []
        scores.main([str(source), *options, *more, "--cache-dir", str(tmp_path / "cache"), "--json", str(file)])
        found.append(json.loads(file.read_text())["scores"])
    assert found[0]["fd"] == pytest.approx(found[1]["fd"], rel=1e-6)


def test_an_exported_folder_gives_the_same_files(tiny_run: Path, tmp_path: Path) -> None:
    exporting.main([str(tiny_run), "--out", str(tmp_path / "model"), "--no-onnx"])
    for name, source in (("a", tiny_run), ("b", tmp_path / "model")):
        sampling.main([str(source), "--num", "10", "--out", str(tmp_path / name)])
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_a_grid_beside_the_files(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sampling.main([str(tiny_run), "--num", "9", "--out", str(tmp_path / "out"), "--grid", str(tmp_path / "grid.png")])
    assert capsys.readouterr().out.splitlines() == [
        f"written to {tmp_path / 'out'}: 9 images, 8×8",
        f"written to {tmp_path / 'grid.png'}: 9 images, 8×8",
    ]
    assert (tmp_path / "grid.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--out", "x.jpg"], r"for one picture of all give --grid x\.jpg"),
        (["--out", "x.tar"], r"a folder or a \.zip, not as \.tar"),
        (["--num", "3", "--seeds", "1"], "give one of them"),
        (["--seeds", "5-3"], "neither a number nor a range such as 0-99"),
        (["--seeds", "a"], "'a' is neither a number"),
        (["--label", "11"], "--label 11: the classes are 0 to 9"),
        (["--out", "{full}"], "holds other files: name a new or an empty folder"),
        (["--out", "{zip}"], "exists already"),
    ],
)
def test_what_is_wrong_is_one_sentence(arguments: list[str], sentence: str, tiny_run: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("")
    (tmp_path / "there.zip").write_text("")
    filled = [word.format(full=tmp_path / "full", zip=tmp_path / "there.zip") for word in arguments]
    with pytest.raises(UserError, match=sentence):
        sampling.main([str(tiny_run), *filled])
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["full", "notes.txt", "there.zip"]


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere does not exist"):
        sampling.main([str(tmp_path / "nowhere")])
