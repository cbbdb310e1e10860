"""Storage "encoded": the same images, order and hash as the pixel cache, without stored pixels."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from gconv_gan.config.errors import FullDiskError, UserError
from gconv_gan.config.sections.data import FolderDataConfig
from gconv_gan.data import cache
from gconv_gan.data.batches.loaders import BatchSource, fixed_batch
from gconv_gan.data.cache import open_dataset
from gconv_gan.data.image_dataset import ImageDataset
from gconv_gan.data.reading.decoded_images import DecodedImages
from tests.data.made import noise, save, zipped


def opened(path: Path, storage: str, **changes: object) -> ImageDataset:
    settings = {"path": str(path), "split": "train", "size": 8, "cache_dir": str(path.parent / "cache"), "storage": storage}
    return open_dataset(FolderDataConfig(**(settings | changes)))  # type: ignore[arg-type]


@pytest.fixture(params=[False, True], ids=["folder", "zip"])
def both(pets: Path, request: pytest.FixtureRequest) -> tuple[ImageDataset, ImageDataset]:
    """The pets as pixels and encoded."""
    path = zipped(pets, pets.parent / "pets.zip") if request.param else pets
    return opened(path, "pixels"), opened(path, "encoded")


def test_it_is_the_same_data_set(both: tuple[ImageDataset, ImageDataset]) -> None:
    pixels, encoded = both
    assert isinstance(encoded.images, DecodedImages)
    assert pixels.manifest == encoded.manifest
    assert (len(pixels), pixels.images.shape, pixels.images.dtype) == (len(encoded), encoded.images.shape, encoded.images.dtype)
    assert sorted(path.name for path in encoded.folder.iterdir()) == ["kept.npy", "labels.npy", "manifest.json"]
    assert encoded.folder != pixels.folder


@pytest.mark.parametrize("index", [slice(0, 6), slice(2, 5), slice(4, 100), slice(0, 0), np.array([3, 0, 3]), np.array([], dtype=np.int64)])
def test_it_is_indexed_like_the_array(both: tuple[ImageDataset, ImageDataset], index: object) -> None:
    pixels, encoded = both
    found = encoded.images[index]  # type: ignore[index]
    np.testing.assert_array_equal(found, pixels.images[index])  # type: ignore[index]
    assert found.flags["OWNDATA"]


def test_batches_grids_and_labels_are_the_same(both: tuple[ImageDataset, ImageDataset]) -> None:
    pixels, encoded = (BatchSource(dataset, seed=1, flip=True, batch_size=4) for dataset in both)
    for images_seen in (0, 4, 8, 12, 100, 0):
        (reals, labels), (other, other_labels) = pixels.batch(images_seen), encoded.batch(images_seen)
        assert reals.equal(other)
        assert labels is not None
        assert other_labels is not None
        assert labels.equal(other_labels)
    assert fixed_batch(both[0], count=4, rows=2).equal(fixed_batch(both[1], count=4, rows=2))


def test_the_next_batch_is_decoded_ahead_and_only_once(pets: Path) -> None:
    dataset = opened(pets, "encoded")
    images = dataset.images
    assert isinstance(images, DecodedImages)
    read: list[int] = []
    original, lock = images._read, threading.Lock()

    def counted(i: int) -> np.ndarray:
        with lock:
            read.append(i)
        return original(i)

    images._read = counted  # type: ignore[method-assign]
    source = BatchSource(dataset, seed=1, flip=False, batch_size=2)
    first = [source.batch(images_seen)[0] for images_seen in (0, 2, 4)]
    assert images._pool is not None
    images._pool.shutdown(wait=True)
    assert len(read) == 8  # three batches and the one that was expected
    images._pool = None
    assert torch.cat(first).unique(dim=0).shape[0] == 6


def test_a_batch_other_than_the_predicted_one_is_correct(pets: Path) -> None:
    images = opened(pets, "encoded").images
    assert isinstance(images, DecodedImages)
    images.expect(np.array([0, 1]))
    np.testing.assert_array_equal(images[np.array([4, 5])], opened(pets, "pixels").images[np.array([4, 5])])
    images.expect(np.array([2, 3]))
    np.testing.assert_array_equal(images[np.array([2, 3])], opened(pets, "pixels").images[np.array([2, 3])])


def test_damaged_images_are_left_out_of_both(pets: Path) -> None:
    (pets / "train/cat/1.png").write_bytes(b"not a picture")
    with pytest.raises(UserError, match=r"train/cat/1\.png cannot be used"):
        opened(pets, "encoded")
    pixels, encoded = (opened(pets, storage, damaged="skip") for storage in ("pixels", "encoded"))
    assert pixels.content_hash == encoded.content_hash
    np.testing.assert_array_equal(pixels.images[:], encoded.images[:])


def test_an_image_damaged_after_preparation_is_named(pets: Path) -> None:
    dataset = opened(pets, "encoded")
    (pets / "train/dog/0.png").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"pets: train/dog/0\.png has been damaged since it was prepared"):
        dataset.images[3:4]
    with pytest.raises(UserError, match="cannot be used"):
        opened(pets, "encoded")  # the next start sees other data


def test_verification_decodes_everything_again(pets: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = FolderDataConfig(path=str(pets), split="train", size=8, cache_dir=str(pets.parent / "c"), storage="encoded")
    folder = open_dataset(settings, verify=True).folder
    monkeypatch.setattr(cache, "_build", lambda *_, **__: pytest.fail("built again"))
    assert len(open_dataset(settings, verify=True)) == 6
    kept = np.load(folder / "kept.npy")
    np.save(folder / "kept.npy", kept[::-1])
    with pytest.raises(pytest.fail.Exception, match="built again"):
        open_dataset(settings, verify=True)
    assert "do not have the hash of the manifest" in caplog.text


def test_it_needs_little_disk_space(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    usage = shutil.disk_usage(pets)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=200))
    assert len(opened(pets, "encoded", size=448)) == 6
    with pytest.raises(FullDiskError, match='or data.storage = "encoded" where the set has it'):
        opened(pets, "pixels", size=448)


def test_odd_sizes_of_pictures_are_decoded_as_they_were_converted(tmp_path: Path) -> None:
    for i in range(3):
        save(tmp_path / "p/train" / f"{i}.png", noise(i, 11 + i, 17, 3))
    sets = [opened(tmp_path / "p", storage) for storage in ("pixels", "encoded")]
    np.testing.assert_array_equal(sets[0].images[:], sets[1].images[:])
