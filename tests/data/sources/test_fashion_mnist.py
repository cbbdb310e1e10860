"""Fashion-MNIST's IDX files, compressed or not, in every supported place; and the real files if they are installed."""

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest

from gconv_gan.config.errors import UserError
from gconv_gan.config.sections.data import FashionMNISTDataConfig
from gconv_gan.data.cache import open_dataset
from gconv_gan.data.sources.fashion_mnist import CLASSES, DEBIAN, FASHION_MNIST, IdxFile, fashion_mnist, read_idx
from gconv_gan.data.sources.official import OfficialFile
from tests.data.made import noise
from tests.data.web import Web

COUNTS = {"train": 5, "test": 3}
NOWHERE = Path("/nowhere")
Files = dict[str, tuple[IdxFile, IdxFile]]


def idx(values: np.ndarray) -> bytes:
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def pictures_of(split: str) -> np.ndarray:
    return noise(len(split), COUNTS[split], 28, 28)


def labels_of(split: str) -> np.ndarray:
    return np.arange(9, 9 - COUNTS[split], -1, dtype=np.uint8)


def put(folder: Path, *, packed: bool = True, url: str = "") -> Files:
    """Write the four files, and return what is published about them."""
    folder.mkdir(parents=True, exist_ok=True)
    files: Files = {}
    for split, official in FASHION_MNIST.items():
        made = []
        for file, content in zip(official, (idx(pictures_of(split)), idx(labels_of(split))), strict=True):
            data = gzip.compress(content)
            (folder / (file.packed.name if packed else file.name)).write_bytes(data if packed else content)
            md5 = hashlib.md5(data).hexdigest()
            made.append(
                IdxFile(OfficialFile(file.packed.name, f"{url}/{file.packed.name}", f"md5:{md5}"), hashlib.sha256(content).hexdigest())
            )
        files[split] = (made[0], made[1])
    return files


@pytest.mark.parametrize("place", ["", "FashionMNIST/raw"])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("split", ["train", "test"])
def test_pictures_labels_and_classes(tmp_path: Path, place: str, packed: bool, split: str) -> None:
    files = put(tmp_path / place, packed=packed)
    config = FashionMNISTDataConfig(path=str(tmp_path), split=split, size=28)  # type: ignore[arg-type]
    source = fashion_mnist(config, files=files, debian=NOWHERE)
    pictures = source.open()
    assert pictures.classes == CLASSES
    assert [entry.label for entry in pictures.entries] == labels_of(split).tolist()
    for entry, grey in zip(pictures.entries, pictures_of(split), strict=True):
        np.testing.assert_array_equal(entry.read()[0], np.stack([grey, grey, grey]))
    assert source.location.startswith(str(tmp_path / place))


def test_size_32_adds_a_black_border_and_changes_no_pixel(tmp_path: Path) -> None:
    files = put(tmp_path)
    picture = fashion_mnist(FashionMNISTDataConfig(path=str(tmp_path)), files=files, debian=NOWHERE).open().entries[1].read()[0]
    assert picture.shape == (3, 32, 32)
    np.testing.assert_array_equal(picture[:, 2:-2, 2:-2], np.stack([pictures_of("train")[1]] * 3))
    assert picture[:, :2].max() == picture[:, -2:].max() == picture[:, :, :2].max() == picture[:, :, -2:].max() == 0


def test_the_packing_does_not_matter_but_the_content_does(tmp_path: Path) -> None:
    files = put(tmp_path / "a", packed=True)
    put(tmp_path / "b", packed=False)
    sources = [fashion_mnist(FashionMNISTDataConfig(path=str(tmp_path / name)), files=files, debian=NOWHERE) for name in "ab"]
    assert sources[0].fingerprint == sources[1].fingerprint
    assert sources[0].fingerprint != fashion_mnist(FashionMNISTDataConfig(path=str(tmp_path / "a"), split="test"), files=files).fingerprint
    with pytest.raises(
        UserError, match=r"train-images-idx3-ubyte\.gz is not the official file: the SHA-256 of its content is .*, not c59f46"
    ):
        fashion_mnist(FashionMNISTDataConfig(path=str(tmp_path / "a")), debian=NOWHERE)


def test_debians_package_is_found_by_itself(tmp_path: Path) -> None:
    files = put(tmp_path / "debian")
    source = fashion_mnist(FashionMNISTDataConfig(path=str(tmp_path / "none")), files=files, debian=tmp_path / "debian")
    assert len(source.open().entries) == 5


def test_absent_files_say_where_and_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        fashion_mnist(FashionMNISTDataConfig(path=str(tmp_path / "x")), debian=NOWHERE)
    parts = (str(tmp_path / "x/FashionMNIST/raw"), "/nowhere", "data.download = true (26 MB)", "dataset-fashion-mnist", "train-images-idx3")
    for part in parts:
        assert part in str(refused.value)


def test_half_a_file_is_named(tmp_path: Path) -> None:
    files = put(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte\.gz is no whole gzip file"):
        fashion_mnist(FashionMNISTDataConfig(path=str(tmp_path)), files=files, debian=NOWHERE)


def test_download_fetches_the_split_that_is_asked_for(tmp_path: Path, web: Web) -> None:
    files = put(web.folder, url=web.url)
    config = FashionMNISTDataConfig(path=str(tmp_path / "new"), split="test", download=True)
    assert len(fashion_mnist(config, files=files, debian=NOWHERE).open().entries) == 3
    assert sorted(path.name for path in (tmp_path / "new").glob("*.gz")) == ["t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"]


def test_another_idx_type_is_refused() -> None:
    with pytest.raises(ValueError, match="no IDX file of unsigned bytes: it begins with 00000d01"):
        read_idx(bytes([0, 0, 13, 1, 0, 0, 0, 0]))


@pytest.mark.skipif(not DEBIAN.is_dir(), reason=f"Debian's dataset-fashion-mnist is not installed: {DEBIAN} is not there")
@pytest.mark.parametrize(("split", "count"), [pytest.param("train", 60_000, marks=pytest.mark.slow), ("test", 10_000)])
def test_the_real_fashion_mnist(tmp_path: Path, split: str, count: int) -> None:
    config = FashionMNISTDataConfig(path=str(tmp_path), split=split, size=28, cache_dir=str(tmp_path / "c"))  # type: ignore[arg-type]
    dataset = open_dataset(config, verify=True)
    assert dataset.manifest.class_counts == (count // 10,) * 10
    assert dataset.labels is not None
    if split == "train":
        assert dataset.labels[:10].tolist() == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]  # as every tutorial prints them
        pixels = dataset.images[:, 0].astype(np.float64) / 255
        assert abs(pixels.mean() - 0.2860) < 5e-5  # the mean and deviation that normalisation recipes quote
        assert abs(pixels.std() - 0.3530) < 5e-5
