"""The same pixels, labels and order as torchvision's data sets, read from the same files."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from torchvision import datasets as tv

from gconv_gan.config.sections.data import CIFAR100DataConfig, FashionMNISTDataConfig, SVHNDataConfig
from gconv_gan.data.sources.cifar import cifar100
from gconv_gan.data.sources.fashion_mnist import fashion_mnist
from gconv_gan.data.sources.source import Source
from gconv_gan.data.sources.svhn import svhn
from gconv_gan.data.sources.tiny_imagenet import tiny_imagenet
from tests.data.sources import test_cifar, test_svhn, test_tiny_imagenet
from tests.data.sources.test_fashion_mnist import NOWHERE, put

tiny, tiny100 = test_tiny_imagenet.tiny, test_cifar.tiny100  # fixtures


def same(source: Source, theirs: list[tuple[object, int]]) -> None:
    entries = list(source.open().entries)
    assert len(entries) == len(theirs) > 0
    for entry, (image, label) in zip(entries, theirs, strict=True):
        assert entry.label == label
        np.testing.assert_array_equal(entry.read()[0], np.asarray(image.convert("RGB")).transpose(2, 0, 1))  # type: ignore[attr-defined]


@pytest.mark.parametrize("train", [True, False])
def test_cifar100(tiny100: tuple[Path, test_cifar.Release], train: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    root, release = tiny100
    monkeypatch.setattr(tv.CIFAR100, "_check_integrity", lambda _: True)
    monkeypatch.setitem(tv.CIFAR100.meta, "md5", release.md5["meta"])
    config = CIFAR100DataConfig(path=str(root), split="train" if train else "test")
    theirs = tv.CIFAR100(str(root), train=train)
    same(cifar100(config, release=release), list(theirs))
    assert cifar100(config, release=release).open().classes == tuple(theirs.classes)


@pytest.mark.parametrize("split", ["train", "test", "extra"])
def test_svhn_has_the_same_labels(tmp_path: Path, split: str, monkeypatch: pytest.MonkeyPatch) -> None:
    files = test_svhn.put(tmp_path)
    monkeypatch.setattr(tv.SVHN, "_check_integrity", lambda _: True)
    config = SVHNDataConfig(path=str(tmp_path), split=split, cache_dir=str(tmp_path / "c"))  # type: ignore[arg-type]
    same(svhn(config, files=files), list(tv.SVHN(str(tmp_path), split=split)))


@pytest.mark.parametrize("train", [True, False])
def test_fashion_mnist(tmp_path: Path, train: bool) -> None:
    raw = tmp_path / "FashionMNIST/raw"
    files = put(raw)
    for path in raw.glob("*.gz"):  # torchvision reads what it unpacked
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
    config = FashionMNISTDataConfig(path=str(tmp_path), split="train" if train else "test", size=28)
    theirs = tv.FashionMNIST(str(tmp_path), train=train)
    source = fashion_mnist(config, files=files, debian=NOWHERE)
    same(source, list(theirs))
    assert source.open().classes == tuple(theirs.classes)


def test_tiny_imagenet_numbers_its_classes_as_image_folder_does(tiny: Path) -> None:
    theirs = tv.ImageFolder(str(tiny / "train"))
    same(tiny_imagenet(test_tiny_imagenet.config(tiny)), list(theirs))
