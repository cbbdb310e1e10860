"""The official CIFAR files: pickled by Python 2, verified before they are read."""

import pickle
import struct
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gconv_gan.config.errors import UserError
from gconv_gan.config.sections.data import CIFAR10DataConfig, CIFAR100DataConfig
from gconv_gan.data.sources import cifar
from gconv_gan.data.sources.cifar import CIFAR10, CIFAR100, Release, cifar10, cifar100
from tests.data.made import md5_of, noise, official_file
from tests.data.web import Web

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def text(value: bytes) -> bytes:
    """Python 2's str: SHORT_BINSTRING or BINSTRING, which Python 3 no longer writes."""
    return b"U" + bytes([len(value)]) + value if len(value) < 256 else b"T" + struct.pack("<i", len(value)) + value


def array(rows: np.ndarray) -> bytes:
    """A uint8 array [n, 3072] as NumPy 1 pickled it under Python 2."""
    return (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"  # an empty array
        b"(K\x01M" + struct.pack("<H", len(rows)) + b"M\x00\x0c\x86"  # version 1, shape (n, 3072)
        b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89" + text(rows.tobytes()) + b"tb"  # C order, the bytes
    )


def numbers(values: list[int]) -> bytes:
    return b"](" + b"".join(b"K" + bytes([value]) for value in values) + b"e"


def strings(values: list[bytes]) -> bytes:
    return b"](" + b"".join(map(text, values)) + b"e"


def dictionary(items: dict[bytes, bytes]) -> bytes:
    return b"\x80\x02}(" + b"".join(text(key) + value for key, value in items.items()) + b"u."


def official(rows: np.ndarray, labels: dict[bytes, list[int]], name: bytes) -> bytes:
    """Return the batch as Python 2's cPickle wrote it: protocol 2, str keys, an array of NumPy 1."""
    pictures = strings([b"picture_%d.png" % i for i in range(len(rows))])
    numbered = {key: numbers(values) for key, values in labels.items()}
    return dictionary({b"batch_label": text(name), **numbered, b"data": array(rows), b"filenames": pictures})


def release_of(folder: Path, release: Release) -> Release:
    """Return ``release`` with the sums of the files in ``folder``."""
    return replace(release, md5={name: md5_of(folder / name) for name in release.md5})


@pytest.fixture
def tiny(tmp_path: Path) -> tuple[Path, Release]:
    """Six batches of two pictures."""
    folder = tmp_path / "data" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for i, name in enumerate(CIFAR10.md5):
        (folder / name).write_bytes(official(noise(i, 2, 3072), {b"labels": [i, 9 - i]}, name.encode()))
    return tmp_path / "data", release_of(folder, CIFAR10)


def test_the_stand_in_is_read_by_plain_pickle_as_the_official_files_are() -> None:
    batch = pickle.loads(official(noise(0, 2, 3072), {b"labels": [3, 7]}, b"testing batch 1 of 1"), encoding="latin1")
    assert (batch["labels"], batch["batch_label"], batch["data"].shape) == ([3, 7], "testing batch 1 of 1", (2, 3072))
    np.testing.assert_array_equal(batch["data"], noise(0, 2, 3072))


@pytest.mark.parametrize(("split", "batches"), [("train", range(5)), ("test", [5])])
def test_pixels_planes_labels_and_order(tiny: tuple[Path, Release], split: str, batches: list[int]) -> None:
    root, release = tiny
    pictures = cifar10(CIFAR10DataConfig(path=str(root), split=split), release=release).open()  # type: ignore[arg-type]
    entries = list(pictures.entries)
    assert len(pictures.entries) == len(entries) == 2 * len(batches)
    assert pictures.classes == CLASSES
    assert [entry.label for entry in entries] == [label for i in batches for label in (i, 9 - i)]
    rows = np.concatenate([noise(i, 2, 3072) for i in batches])
    for entry, row in zip(entries, rows, strict=True):
        red, green, blue = row[:1024], row[1024:2048], row[2048:]
        np.testing.assert_array_equal(entry.read()[0], np.stack([plane.reshape(32, 32) for plane in (red, green, blue)]))
    assert entries[1].name == ("data_batch_1[1]" if split == "train" else "test_batch[1]")


def test_a_file_that_is_not_the_official_one_is_named_and_never_unpickled(
    tiny: tuple[Path, Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, release = tiny
    bad = root / "cifar-10-batches-py" / "data_batch_3"
    bad.write_bytes(bad.read_bytes()[:-1] + b"!")
    monkeypatch.setattr(cifar, "_load", lambda data: pytest.fail("unpickled"))
    with pytest.raises(UserError, match=rf"{bad} is not the official file: its MD5 is .*, not {release.md5['data_batch_3']}"):
        cifar10(CIFAR10DataConfig(path=str(root)), release=release)
    cifar10(CIFAR10DataConfig(path=str(root), split="test"), release=release)  # the other split needs it not


def test_the_default_sums_refuse_the_stand_in(tiny: tuple[Path, Release]) -> None:
    with pytest.raises(UserError, match="not c99cafc152244af753f735de768cd75f"):
        cifar10(CIFAR10DataConfig(path=str(tiny[0])))


def test_even_a_verified_pickle_runs_nothing(tmp_path: Path) -> None:
    evil = b"\x80\x02cposix\nsystem\n" + text(b"touch " + str(tmp_path / "ran").encode()) + b"\x85R."
    with pytest.raises(pickle.UnpicklingError, match=r"a CIFAR batch must not contain posix\.system"):
        cifar._load(evil)
    assert not (tmp_path / "ran").exists()


def test_download_fetches_verifies_and_unpacks(tiny: tuple[Path, Release], web: Web, tmp_path: Path) -> None:
    root, release = tiny
    with tarfile.open(web.folder / release.archive.name, "w:gz") as file:
        file.add(root / release.folder, release.folder)
    config = CIFAR10DataConfig(path=str(tmp_path / "fetched"), split="test", download=True)
    wrong = replace(release, archive=replace(release.archive, url=f"{web.url}/{release.archive.name}"))
    with pytest.raises(UserError, match=r"what http.* sent is not the official file: its MD5 is .*, not c58f30108f718f92721af3b95e74349a"):
        cifar10(config, release=wrong)
    assert not (tmp_path / "fetched" / release.folder).exists()
    good = replace(release, archive=official_file(web, release.archive.name))
    assert len(cifar10(config, release=good).open().entries) == 2
    (web.folder / release.archive.name).unlink()
    assert len(cifar10(config, release=good).open().entries) == 2  # what is there is not fetched again
    (tmp_path / "fetched" / release.folder / "test_batch").unlink()
    assert len(cifar10(config, release=good).open().entries) == 2  # but unpacked again


# --- CIFAR-100 -------------------------------------------------------------------------------------------------------------------

FINE, COARSE = [b"apple", b"aquarium_fish", b"baby"], [b"fish", b"fruit_and_vegetables"]


@pytest.fixture
def tiny100(tmp_path: Path) -> tuple[Path, Release]:
    """Three pictures to train, two to test, three fine and two coarse classes."""
    folder = tmp_path / "data" / "cifar-100-python"
    folder.mkdir(parents=True)
    for name, rows, fine, coarse in (("train", noise(0, 3, 3072), [1, 0, 2], [0, 1, 1]), ("test", noise(1, 2, 3072), [0, 1], [1, 0])):
        (folder / name).write_bytes(official(rows, {b"fine_labels": fine, b"coarse_labels": coarse}, name.encode()))
    (folder / "meta").write_bytes(dictionary({b"fine_label_names": strings(FINE), b"coarse_label_names": strings(COARSE)}))
    return tmp_path / "data", release_of(folder, CIFAR100)


@pytest.mark.parametrize(
    ("split", "labels", "classes", "expected"),
    [
        ("train", "fine", ("apple", "aquarium_fish", "baby"), [1, 0, 2]),
        ("train", "coarse", ("fish", "fruit_and_vegetables"), [0, 1, 1]),
        ("test", "fine", ("apple", "aquarium_fish", "baby"), [0, 1]),
        ("test", "coarse", ("fish", "fruit_and_vegetables"), [1, 0]),
    ],
)
def test_cifar100_has_fine_and_coarse_labels(
    tiny100: tuple[Path, Release], split: str, labels: str, classes: tuple[str, ...], expected: list[int]
) -> None:
    root, release = tiny100
    source = cifar100(CIFAR100DataConfig(path=str(root), split=split, labels=labels), release=release)  # type: ignore[arg-type]
    pictures = source.open()
    entries = list(pictures.entries)
    assert pictures.classes == classes
    assert [entry.label for entry in entries] == expected
    rows = noise(0 if split == "train" else 1, len(expected), 3072)
    np.testing.assert_array_equal(np.stack([entry.read()[0] for entry in entries]), rows.reshape(-1, 3, 32, 32))
    assert entries[1].name == f"{split}[1]"


def test_fine_and_coarse_labels_are_different_data(tiny100: tuple[Path, Release]) -> None:
    root, release = tiny100
    recipes = {
        cifar100(CIFAR100DataConfig(path=str(root), split=split, labels=labels), release=release).recipe  # type: ignore[arg-type]
        for split in ("train", "test")
        for labels in ("fine", "coarse")
    }
    assert len(recipes) == 4


def test_every_file_of_cifar100_is_verified(tiny100: tuple[Path, Release]) -> None:
    root, release = tiny100
    with pytest.raises(UserError, match="not 16019d7e3df5f24257cddd939b257f8d"):
        cifar100(CIFAR100DataConfig(path=str(root)))
    with pytest.raises(UserError, match=r"meta is not the official file: its MD5 is .*, not 0"):
        cifar100(CIFAR100DataConfig(path=str(root)), release=replace(release, md5={**release.md5, "meta": "0"}))
