"""Classes by the names of folders, whose sorted order may differ from their numbers."""

import re
from pathlib import Path

import pytest
import torch

from gconv_gan.commands import export, sample
from gconv_gan.commands.exported import load_exported
from gconv_gan.commands.score import classifier_card, scores
from gconv_gan.commands.train import classifier, gan
from gconv_gan.config.errors import UserError
from gconv_gan.gallery.pictures.grid import read_tiles
from tests.data.made import noise, save
from tests.data.sources.test_webdataset import sample as member
from tests.data.sources.test_webdataset import write
from tests.training.tiny import toml
from tests.training.tiny_classifier import tiny_classifier


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export of a run on class folders "0" to "11", which sort as 0, 1, 10, 11, 2, …"""
    root = tmp_path_factory.mktemp("numbered")
    for label in range(12):
        for i in range(3):
            save(root / "pictures" / str(label) / f"{i}.png", noise(100 * label + i, 8, 8, 3))
    data = {"kind": "folder", "path": str(root / "pictures"), "size": 8}
    gan.main([str(toml(root, data=data)), "--trainer.total-images", "32"])
    export.main([str(root / "tiny"), "--out", str(root / "exported"), "--no-onnx"])
    return root / "exported"


@pytest.mark.parametrize(("word", "number"), [("2", 4), ("10", 2), ("0", 0), ("11", 3)])
def test_a_class_is_found_by_its_name_before_its_number(numbered: Path, capsys: pytest.CaptureFixture[str], word: str, number: int) -> None:
    sample.main([str(numbered), "--num", "4", "--class", word])
    said = capsys.readouterr().out
    assert f"4 images of class '{word}'" in said
    assert (f"(number {number})" in said) is (word != str(number))
    generator, description = load_exported(numbered)
    expected = sample.sample(generator, count=4, seed=0, counts=sample.class_counts(description.classes, number))
    written = re.search(r"written to (\S+\.png)", said)
    assert written is not None
    assert torch.equal(read_tiles(Path(written[1]), side=8), expected)


def test_pictures_of_two_classes_have_different_files(numbered: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = set()
    for word in ("1", "2", "4"):
        sample.main([str(numbered), "--num", "4", "--class", word])
        files.add(capsys.readouterr().out.split()[2])
    assert len(files) == 3


def test_a_reference_without_images_of_a_class_is_refused(tmp_path: Path, judge: Path) -> None:
    names = tmp_path / "shards" / "classnames.txt"
    data = {"kind": "webdataset", "path": str(tmp_path / "shards" / "a.tar"), "size": 8, "cache_dir": str(tmp_path / "cache")}
    write(tmp_path / "shards" / "a.tar", [part for i in range(24) for part in member(i, i % 3)])
    names.write_text("cat\ndog\nelk\n")
    gan.main([str(toml(tmp_path, data=data)), "--trainer.total-images", "32"])
    write(tmp_path / "shards" / "b.tar", [part for i in range(24) for part in member(i, 2 * (i % 2))])
    common = [str(tmp_path / "tiny"), "--extractor", f"checkpoint:{judge}", "--num-fake", "32", "--metrics", "fid"]
    common += ["--cache-dir", str(tmp_path / "cache"), "--reference"]
    scores.main([*common, f"webdataset:{tmp_path}/shards/a.tar"])
    with pytest.raises(UserError, match=r"the reference b has no image of the class 'dog', but labels of the generator are drawn"):
        scores.main([*common, f"webdataset:{tmp_path}/shards/b.tar"])


def test_test_images_without_a_class_are_refused(tmp_path: Path) -> None:
    for name, labels in (("whole", (0, 1, 2)), ("gaps", (0, 2))):
        write(tmp_path / name / "a.tar", [part for i in range(60) for part in member(i, labels[i % len(labels)])])
        (tmp_path / name / "classnames.txt").write_text("cat\ndog\nelk\n")
    data = {"kind": "webdataset", "path": str(tmp_path / "whole" / "a.tar"), "size": 8, "cache_dir": str(tmp_path / "cache")}
    classifier.fit(tiny_classifier(tmp_path, data=data, test_data=data, split={"train": 1.0}, trainer={"total_images": 32}))
    with pytest.raises(UserError, match=r"has no image of the class 'dog', which a classifier's test needs; number the classes from 0"):
        classifier_card.main([str(tmp_path / "tiny"), "--data-path", str(tmp_path / "gaps" / "a.tar")])
