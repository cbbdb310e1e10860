"""The report on memorisation from its command line: runs, pictures with planted copies, refusals."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from gconv_gan.commands.score.memorisation import CANNOT_SHOW, FOLDER, PICTURE, REPORT, MemorisationReport, main
from gconv_gan.commands.train.gan import fit
from gconv_gan.config.errors import UserError
from gconv_gan.data.batches.subset import without_held_out
from gconv_gan.data.cache import open_dataset
from gconv_gan.gallery.pictures.grid import read_tiles
from tests.training.tiny import tiny

COUNT, COPIES = 60, 15


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of random 8x8 pictures: training, held-out, new ones, and new ones of which the first are copies of training pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    draw = torch.Generator().manual_seed(0)
    images = {name: torch.randint(0, 256, (COUNT, 8, 8, 3), dtype=torch.uint8, generator=draw) for name in ("train", "held_out", "new")}
    images["copied"] = torch.cat([images["train"][:COPIES], images["new"][COPIES:]])
    for name, rows in images.items():
        (folder / name).mkdir()
        for i, image in enumerate(rows):
            Image.fromarray(image.numpy()).save(folder / name / f"{i:03}.png")
    return {name: folder / name for name in images}


def reported(arguments: list[str], folder: Path) -> MemorisationReport:
    main([*arguments, "--cache-dir", str(folder / "cache"), "--json", str(folder / "report.json")])
    return MemorisationReport.model_validate_json((folder / "report.json").read_text())


def of_files(name: str, pictures: dict[str, Path], judge: Path, *flags: str) -> list[str]:
    sets = ["--train", str(pictures["train"]), "--held-out", str(pictures["held_out"])]
    return [str(pictures[name]), *sets, "--extractor", f"checkpoint:{judge}", *flags]


def test_planted_copies_are_reported_and_shown(
    pictures: dict[str, Path], judge: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = reported(of_files("copied", pictures, judge, "--out", str(tmp_path / "out"), "--pairs", "16"), tmp_path)
    assert found.p_value < 0.025
    assert found.excess == pytest.approx(COPIES / COUNT, abs=found.detectable)
    assert [pair.distance for pair in found.pairs[:COPIES]] == [0] * COPIES
    assert found.pairs[COPIES].calibrated > 0
    assert found.authenticity <= 1 - COPIES / COUNT
    assert (found.fakes, found.images, found.by_class, found.twins) == (COUNT, COUNT, False, 0)
    assert (found.source.source, found.train.source) == (str(pictures["copied"]), str(pictures["train"]))
    printed = capsys.readouterr().out
    assert "evidence of copying: about" in printed
    assert all(line in printed for line in CANNOT_SHOW)
    assert json.loads((tmp_path / "out" / REPORT).read_text()) == json.loads((tmp_path / "report.json").read_text())
    tiles = read_tiles(tmp_path / "out" / PICTURE, side=8)
    same = [torch.equal(fake, train) for fake, train in tiles.unflatten(0, (16, 2))]
    assert same == [True] * COPIES + [False]


def test_twins_of_training_pictures_among_the_held_out_ones_are_counted(
    pictures: dict[str, Path], judge: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = ["--train", str(pictures["train"]), "--held-out", str(pictures["copied"])]
    found = reported([str(pictures["held_out"]), *sets, "--extractor", f"checkpoint:{judge}"], tmp_path)
    assert found.twins == COPIES
    assert f"! {COPIES} held-out images have a twin among the training images" in capsys.readouterr().out


def test_new_pictures_are_not(pictures: dict[str, Path], judge: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = reported(of_files("new", pictures, judge), tmp_path)
    assert found.interval[0] < 0.5 < found.interval[1]
    assert "no evidence of copying; a share of copies below" in capsys.readouterr().out
    again = reported(of_files("new", pictures, judge, "--batch-size", "7"), tmp_path)
    assert again.share == pytest.approx(found.share, abs=1 / COUNT)


def test_a_run_is_compared_with_its_training_data_class_by_class(run: Path, judge: Path, tmp_path: Path) -> None:
    flags = ["--held-out", "digits", "--held-out-split", "train", "--num-fake", "100", "--extractor", f"checkpoint:{judge}"]
    found = reported([str(run), *flags], tmp_path)
    assert (found.train.split, found.held_out.split, found.by_class, found.fakes) == ("test", "train", True, 100)
    assert 300 < found.images <= 359
    assert (found.source.images_seen, found.source.weights) == (480, "ema")
    assert (run / FOLDER / PICTURE).is_file()
    assert MemorisationReport.model_validate_json((run / FOLDER / REPORT).read_text()) == found


def test_it_says_what_is_missing(run: Path, judge: Path, pictures: dict[str, Path], tmp_path: Path) -> None:
    network = ["--extractor", f"checkpoint:{judge}", "--cache-dir", str(tmp_path / "cache")]
    train = ["--train", str(pictures["train"])]
    other = tmp_path / "larger"
    other.mkdir()
    for i in range(3):
        Image.new("RGB", (16, 16), (i, 0, 0)).save(other / f"{i}.png")
    for arguments, message in (
        ([str(run)], "trained on the split test of digits: name images that it was not trained on with --held-out"),
        ([str(run), "--size", "8"], "--size 8 is for pictures in files"),
        ([str(pictures["new"])], "--train is needed"),
        ([str(pictures["new"]), *train], "--held-out is needed"),
        ([str(pictures["new"]), *train, "--held-out", str(pictures["train"])], "the held-out images are the training images"),
        ([str(pictures["new"]), *train, "--held-out", str(other)], "has 16x16 pixels, the fakes 8x8: give --size"),
        ([str(pictures["new"]), *train, "--held-out", str(tmp_path / "absent")], "--held-out .*absent is neither a folder"),
        ([str(pictures["new"]), *train, "--held-out", str(other), "--size", "8", "--num-train", "99"], "set --num-train to at most that"),
    ):
        with pytest.raises(UserError, match=message):
            main([*arguments, *network])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["RUN"], "on the split test of digits: name images that it was not trained on with --held-out"),
        (["PICTURES"], "--train is needed"),
        (["PICTURES", "--train", "PICTURES"], "--held-out is needed"),
        (["PICTURES2"], r"SOURCE: .*new2 does not exist; did you mean .*\?; give a run folder, or images"),
    ],
)
def test_what_the_command_line_lacks_is_said_before_weights_are_looked_for(
    arguments: list[str], message: str, tiny_run: Path, pictures: dict[str, Path], tmp_path: Path
) -> None:
    words = [word.replace("RUN", str(tiny_run)).replace("PICTURES", str(pictures["new"])) for word in arguments]
    with pytest.raises(UserError, match=message):
        main([*words, "--weights", str(tmp_path / "absent.pth")])


def test_a_run_that_held_images_out_needs_no_others(judge: Path, pictures: dict[str, Path], tmp_path: Path) -> None:
    data = {"kind": "folder", "path": str(pictures["train"]), "size": 8, "split": None}
    fit(tiny(tmp_path, conditional=False, data=data, trainer={"total_images": 32, "held_out": 0.3}))
    flags = ["--num-fake", "50", "--extractor", f"checkpoint:{judge}"]
    found = reported([str(tmp_path / "tiny"), *flags], tmp_path)
    assert (found.train.source.rpartition(", ")[2], found.held_out.source.rpartition(", ")[2]) == ("trained on", "held out")
    undecided = found.model_copy(update={"detectable": 1.2, "p_value": 0.4, "interval": (-0.9, 1.3)})
    assert "  undecided: 18 images of either kind are too few to see any share of copies" in undecided.lines()
    assert "95 % interval 0.000 to 1.000" in "\n".join(undecided.lines())
    assert (found.images, found.fakes, found.twins) == (18, 50, 0)  # 18 of 60 are held out, as many trained on are compared
    assert found.train.fingerprint != found.held_out.fingerprint
    shown = read_tiles(tmp_path / "tiny" / FOLDER / PICTURE, side=8).unflatten(0, (-1, 2))[:, 1]
    dataset = open_dataset(tiny(tmp_path, data=data, conditional=False).data)
    trained, held_out = (dataset.images[rows] for rows in without_held_out(dataset, share=0.3, seed=3))
    for image in shown.numpy():
        assert (trained == image).all((1, 2, 3)).any()
        assert not (held_out == image).all((1, 2, 3)).any()
