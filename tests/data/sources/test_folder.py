"""Which files of a folder or zip are pictures, of which split, of which class."""

import os
from pathlib import Path

import numpy as np
import pytest

from gconv_gan.config.errors import UserError
from gconv_gan.config.sections.data import FolderDataConfig
from gconv_gan.data.sources.folder import folder
from tests.data.made import noise, save, zipped


def found(path: Path, **config: object) -> tuple[tuple[str, ...], list[tuple[str, int | None]]]:
    """Return the classes and (name, label) of every picture."""
    source = folder(FolderDataConfig(path=str(path), size=8, cache_dir=str(path.parent / "cache"), **config))  # type: ignore[arg-type]
    pictures = source.open()
    entries = [(entry.name, entry.label) for entry in pictures.entries]
    assert len(entries) == len(pictures.entries)
    return pictures.classes, entries


def make(root: Path, *names: str) -> Path:
    for name in names:
        save(root / name, noise(len(name), 8, 8, 3))
    return root


@pytest.mark.parametrize("packed", [False, True])
def test_a_split_is_a_top_level_folder_and_the_next_one_the_class(pets: Path, packed: bool) -> None:
    path = zipped(pets, pets.parent / "pets.zip") if packed else pets
    classes, entries = found(path, split="train")
    assert classes == ("cat", "dog")
    assert entries == [(f"train/{name}/{i}.png", label) for label, name in enumerate(("cat", "dog")) for i in range(3)]
    assert len(found(path, split="test")[1]) == 2


@pytest.mark.parametrize("packed", [False, True])
def test_a_folder_around_everything_is_no_class(pets: Path, tmp_path: Path, packed: bool) -> None:
    wrapped = tmp_path / "wrapped" / "outer" / "inner"
    wrapped.parent.mkdir(parents=True)
    pets.rename(wrapped)
    path = zipped(tmp_path / "wrapped", tmp_path / "w.zip") if packed else tmp_path / "wrapped"
    classes, entries = found(path, split="train")
    assert classes == ("cat", "dog")
    assert len(entries) == 6


def test_without_a_split_the_top_folders_are_the_classes(pets: Path) -> None:
    assert found(pets / "train")[0] == ("cat", "dog")


def test_deeper_folders_are_no_classes(tmp_path: Path) -> None:
    root = make(tmp_path / "t", "train/n01/images/a.png", "train/n02/images/b.png", "val/images/c.png")
    assert found(root, split="train") == (("n01", "n02"), [("train/n01/images/a.png", 0), ("train/n02/images/b.png", 1)])


def test_only_pictures_in_any_case_sorted_and_not_hidden(tmp_path: Path) -> None:
    root = make(tmp_path / "p", "b.PNG", "a.jpeg", "c.JpG", "d.webp", "e.tif", ".hidden.png", "__MACOSX/x.png", ".git/y.png")
    (root / "README.md").write_text("no picture")
    (root / "._b.png").write_text("a Mac's resource fork")
    expected = [(name, None) for name in ("a.jpeg", "b.PNG", "c.JpG", "d.webp", "e.tif")]
    assert found(root) == ((), expected)
    assert found(zipped(root, tmp_path / "p.zip")) == ((), expected)


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (("cat/a.png", "cat/b.png"), ("cat",)),
        (("outer/cat/a.png", "outer/cat/b.png"), ("cat",)),
        (("cat/a.png", "cat/more/b.png"), ("cat",)),
        (("train/cat/a.png", "train/cat/b.png"), ("cat",)),
        (("train/a.png", "train/b.png"), ()),
        (("outer/Train/a.png", "outer/Train/b.png"), ()),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_one_class_folder_is_a_class(tmp_path: Path, names: tuple[str, ...], classes: tuple[str, ...], packed: bool) -> None:
    root = make(tmp_path / "r", *names)
    found_classes, entries = found(zipped(root, tmp_path / "r.zip") if packed else root)
    assert found_classes == classes
    assert entries == [(name, 0 if classes else None) for name in sorted(names)]


def test_labels_none_ignores_the_folders(pets: Path) -> None:
    classes, entries = found(pets, labels="none")
    assert classes == ()
    assert [label for _, label in entries] == [None] * 8


def test_loose_pictures_beside_class_folders_are_refused_by_name(pets: Path) -> None:
    make(pets, "train/stray.png")
    with pytest.raises(UserError, match=r'train/stray\.png lies in no class folder.*data\.labels = "none"'):
        found(pets, split="train")
    assert len(found(pets, split="train", labels="none")[1]) == 7


def test_splits_are_not_taken_for_classes(pets: Path) -> None:
    with pytest.raises(UserError, match=r"has the splits test, train, not classes; choose one with data\.split"):
        found(pets)


def test_an_unknown_split_names_the_known_ones(pets: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'train'"):
        found(pets, split="trian")
    with pytest.raises(UserError, match="there are: test, train"):
        found(pets, split="zebra")
    with pytest.raises(UserError, match="it has no sub-folders"):
        found(make(pets.parent / "flat", "a.png"), split="train")


def test_absent_data_say_where_they_were_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"data\.path: {tmp_path}/gone\.zip does not exist; give a folder of pictures, or a zip"):
        found(tmp_path / "gone.zip")


def test_a_folder_without_pictures_names_the_known_extensions(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"holds no pictures \(\.jpg, \.png, \.webp and other"):
        found(tmp_path / "empty")


def test_a_web_page_is_no_zip(tmp_path: Path) -> None:
    page = tmp_path / "page.zip"
    page.write_text("<!DOCTYPE html><title>Sign in</title>")
    with pytest.raises(UserError, match=r"page\.zip is no data but a web page \('Sign in'\): a failed download"):
        found(page)


def test_links_are_followed_and_cycles_are_skipped(pets: Path, tmp_path: Path) -> None:
    other = make(tmp_path / "other", "x.png")
    (pets / "train" / "bird").symlink_to(other)
    (pets / "train" / "dog" / "again").symlink_to(pets)
    classes, entries = found(pets, split="train")
    assert classes == ("bird", "cat", "dog")
    assert len(entries) == 7


def test_pixels_are_the_same_from_a_folder_and_from_its_zip(pets: Path, tmp_path: Path) -> None:
    pictures = []
    for path in (pets, zipped(pets, tmp_path / "pets.zip", under="wrapper/")):
        source = folder(FolderDataConfig(path=str(path), split="train", size=8, cache_dir=str(tmp_path / "cache")))
        pictures.append(np.stack([entry.read()[0] for entry in source.open().entries]))
    np.testing.assert_array_equal(pictures[0], pictures[1])
    np.testing.assert_array_equal(pictures[0][0], noise(0, 8, 8, 3).transpose(2, 0, 1))


def test_a_moved_folder_is_the_same_data_and_a_renamed_picture_is_not(pets: Path, tmp_path: Path) -> None:
    def identity(path: Path) -> str:
        return folder(FolderDataConfig(path=str(path), split="train", cache_dir=str(tmp_path / "cache"))).fingerprint

    before = identity(pets)
    moved = pets.rename(tmp_path / "moved")
    assert identity(moved) == before
    os.rename(moved / "train/cat/0.png", moved / "train/cat/9.png")
    assert identity(moved) != before
