"""CUB-200-2011's lists and its two crops."""

import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gconv_gan.config.errors import UserError
from gconv_gan.config.sections.data import CUBDataConfig
from gconv_gan.data.sources.cub import around_box, cub
from tests.data.made import noise, official_file, save
from tests.data.web import Web

BIRDS = [  # name, class from 1, for training, box
    ("001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg", 1, 0, "60.0 27.0 325.0 304.0"),
    ("001.Black_footed_Albatross/Black_Footed_Albatross_0009_34.jpg", 1, 1, "139.0 30.0 153.0 264.0"),
    ("002.Laysan_Albatross/Laysan_Albatross_0002_1027.jpg", 2, 1, "5.0 5.0 20.0 20.0"),
    ("003.Brewer_Blackbird/Brewer_Blackbird_0001.jpg", 3, 0, "14.0 112.0 388.0 186.0"),
]


def put(base: Path) -> Path:
    for i, (name, _, _, _) in enumerate(BIRDS):
        save(base / "images" / name, noise(i, 335, 500, 3))
    rows = [(i, *bird) for i, bird in enumerate(BIRDS, start=1)]
    (base / "images.txt").write_text("".join(f"{i} {name}\n" for i, name, _, _, _ in rows))
    (base / "image_class_labels.txt").write_text("".join(f"{i} {label}\n" for i, _, label, _, _ in rows))
    (base / "train_test_split.txt").write_text("".join(f"{i} {training}\n" for i, _, _, training, _ in rows))
    (base / "bounding_boxes.txt").write_text("".join(f"{i} {box}\n" for i, _, _, _, box in rows))
    (base / "classes.txt").write_text("1 001.Black_footed_Albatross\n2 002.Laysan_Albatross\n3 003.Brewer_Blackbird\n")
    return base


def config(root: Path, **changes: object) -> CUBDataConfig:
    return CUBDataConfig(path=str(root), cache_dir=str(root.parent / "cache"), **{"size": 64, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(("split", "chosen"), [("train", [1, 2]), ("test", [0, 3]), ("all", [0, 1, 2, 3])])
@pytest.mark.parametrize("inside", ["", "CUB_200_2011"])
def test_the_official_splits_and_readable_names(tmp_path: Path, split: str, chosen: list[int], inside: str) -> None:
    put(tmp_path / "cub" / inside)
    pictures = cub(config(tmp_path / "cub", split=split)).open()
    assert pictures.classes == ("Black footed Albatross", "Laysan Albatross", "Brewer Blackbird")
    assert [(entry.name, entry.label) for entry in pictures.entries] == [(BIRDS[i][0], BIRDS[i][1] - 1) for i in chosen]


def test_the_centre_crop(tmp_path: Path) -> None:
    base = put(tmp_path / "cub")
    entry = cub(config(base)).open().entries[0]
    image = Image.open(base / "images" / BIRDS[1][0])
    expected = image.crop((82, 0, 417, 335)).resize((64, 64), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(entry.read()[0], np.asarray(expected).transpose(2, 0, 1))


@pytest.mark.parametrize(("bird", "box"), [(0, (0, 0, 465, 335)), (2, (0, 0, 30, 30)), (3, (0, 0, 499, 335))])
def test_the_box_is_stackgans(bird: int, box: tuple[int, int, int, int]) -> None:
    """r = int(0.75·max(w, h)) around the integer middle, clipped: 243 around (222, 179); 15 around (15, 15); 291 around (208, 205)."""
    x, y, width, height = map(float, BIRDS[bird][3].split())
    image = Image.fromarray(noise(bird, 335, 500, 3))
    cropped = image.crop(box)
    side = min(cropped.size)
    left, upper = (cropped.width - side) // 2, (cropped.height - side) // 2
    expected = cropped.crop((left, upper, left + side, upper + side))
    np.testing.assert_array_equal(np.asarray(around_box(image, box=(x, y, width, height))), np.asarray(expected))


def test_the_crops_are_different_data(tmp_path: Path) -> None:
    base = put(tmp_path / "cub")
    box, centre = cub(config(base, crop="box")), cub(config(base))
    assert box.recipe != centre.recipe
    assert "StackGAN" in box.published
    assert not np.array_equal(box.open().entries[1].read()[0], centre.open().entries[1].read()[0])


def test_lists_that_do_not_fit_are_named(tmp_path: Path) -> None:
    base = put(tmp_path / "cub")
    (base / "bounding_boxes.txt").write_text("1 60.0 27.0 325.0 304.0\n")
    with pytest.raises(UserError, match=r"bounding_boxes\.txt and .*images\.txt do not number the same images"):
        cub(config(base))
    (base / "train_test_split.txt").unlink()
    with pytest.raises(UserError, match=r"train_test_split\.txt does not exist, which the split"):
        cub(config(base))


def test_download(tmp_path: Path, web: Web) -> None:
    put(tmp_path / "made/CUB_200_2011")
    with tarfile.open(web.folder / "CUB_200_2011.tgz", "w:gz") as file:
        file.add(tmp_path / "made/CUB_200_2011", "CUB_200_2011")
        file.add(tmp_path / "made/CUB_200_2011/classes.txt", "attributes.txt")  # the archive has one beside the folder
    archive = official_file(web, "CUB_200_2011.tgz")
    for _ in range(2):
        assert len(cub(config(tmp_path / "new", download=True, split="all"), archive=archive).open().entries) == 4
    assert len(web.requests) == 1
