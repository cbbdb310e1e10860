"""CIFAR-10 and CIFAR-100 from the official Python files.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009). Each batch is a pickled dictionary with ``data``
[n, 3072] (rows: 1024 red, 1024 green, 1024 blue values) and the labels: ``labels``, or ``fine_labels`` and ``coarse_labels``. A
pickle can run code, so the bytes are first compared with the published MD5 and then read by an unpickler that admits three names of
NumPy alone.
"""

import hashlib
import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from gconv_gan.config.errors import AbsentDataError
from gconv_gan.config.sections.data import CIFAR10DataConfig, CIFAR100DataConfig
from gconv_gan.data.sources.official import OfficialFile, fetch_and_unpack, read_verified
from gconv_gan.data.sources.source import Entries, Entry, Picture, Pictures, Source

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PUBLISHED = "the pixels as published, which mimicry, StudioGAN and BigGAN-PyTorch scale to [-1, 1] without any resizing"


@dataclass(frozen=True)
class Release:
    """A published archive: the folder inside, and the MD5 of each file of it that is read."""

    title: str
    archive: OfficialFile
    folder: str
    md5: Mapping[str, str]


CIFAR10 = Release(
    "CIFAR-10",
    OfficialFile(
        "cifar-10-python.tar.gz",
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        "md5:c58f30108f718f92721af3b95e74349a",
        170_498_071,
    ),
    "cifar-10-batches-py",
    {
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
    },
)
CIFAR100 = Release(
    "CIFAR-100",
    OfficialFile(
        "cifar-100-python.tar.gz",
        "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        "md5:eb9058c3a382ffc7106e4002c42a8d85",
        169_001_437,
    ),
    "cifar-100-python",
    {
        "train": "16019d7e3df5f24257cddd939b257f8d",
        "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        "meta": "7973b15100ade9c7d40fb424638fde48",
    },
)


def cifar10(config: CIFAR10DataConfig, *, release: Release = CIFAR10) -> Source:
    """Return an official split, pixels untouched, in the order of the files.

    Raises:
        UserError: a file is absent (and ``download`` is off), or its MD5 is not the published one.

    """
    batches = _files(
        config, release, [name for name in release.md5 if name.startswith("data_batch" if config.split == "train" else "test")]
    )
    return _source(
        config, release, batches, recipe=f"cifar10 v1, split {config.split}", open=partial(_open, batches, "labels", CIFAR10_CLASSES)
    )


def cifar100(config: CIFAR100DataConfig, *, release: Release = CIFAR100) -> Source:
    """Return an official split with its fine or coarse labels, pixels untouched, in the order of the file.

    Raises:
        UserError: a file is absent (and ``download`` is off), or its MD5 is not the published one.

    """
    files = _files(config, release, [config.split, "meta"])
    names = tuple(_load(files["meta"])[f"{config.labels}_label_names"])
    batches: dict[str, bytes] = {config.split: files[config.split]}
    recipe = f"cifar100 v1, split {config.split}, {config.labels} labels"
    return _source(config, release, files, recipe=recipe, open=partial(_open, batches, f"{config.labels}_labels", names))


def _source(config: CIFAR10DataConfig | CIFAR100DataConfig, release: Release, files: dict[str, bytes], *, recipe: str, open: Any) -> Source:
    return Source(
        kind=config.kind,
        title=release.title,
        location=str(_root(config) / release.folder),
        split=config.split,
        size=config.size,
        fingerprint=hashlib.sha256(b"".join(hashlib.sha256(data).digest() for data in files.values())).hexdigest(),
        recipe=f"{recipe}; pixels as published",
        published=PUBLISHED,
        open=open,
    )


def _root(config: CIFAR10DataConfig | CIFAR100DataConfig) -> Path:
    return Path(config.path).expanduser().resolve()


def _files(config: CIFAR10DataConfig | CIFAR100DataConfig, release: Release, names: list[str]) -> dict[str, bytes]:
    """Return the content of the named files, verified; download and unpack the archive first if needed and ``download`` is on."""
    root = _root(config)
    paths = {name: root / release.folder / name for name in names}
    if config.download:
        fetch_and_unpack(release.archive, root, member=release.folder, wanted=list(paths.values()))
    for path in paths.values():
        if not path.is_file():
            raise AbsentDataError(
                f"data.path: looked for {path}, which does not exist; set data.download = true{release.archive.needs}, "
                f"or unpack {release.archive.url} into {root}"
            )
    return {name: read_verified(path, f"md5:{release.md5[name]}") for name, path in paths.items()}


def _open(batches: Mapping[str, bytes], labels: str, classes: tuple[str, ...]) -> Pictures:
    loaded = [_load(data) for data in batches.values()]
    images = np.concatenate([batch["data"].reshape(-1, 3, 32, 32) for batch in loaded])
    numbers = [int(label) for batch in loaded for label in batch[labels]]
    names = [f"{name}[{i}]" for name, batch in zip(batches, loaded, strict=True) for i in range(len(batch[labels]))]
    return Pictures(classes, Entries(len(images), lambda i: Entry(names[i], partial(_read, images[i]), numbers[i])))


def _read(image: UInt8[np.ndarray, "3 32 32"]) -> tuple[Picture, str]:
    return image, "array"


def _load(data: bytes) -> dict[str, Any]:
    loaded: dict[str, Any] = _BatchUnpickler(io.BytesIO(data), encoding="latin1").load()
    return loaded


class _BatchUnpickler(pickle.Unpickler):
    """An unpickler that admits the three names of an array pickled by NumPy 1 under Python 2: it can create arrays and run no code."""

    ALLOWED: Mapping[tuple[str, str], Any] = {
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"a CIFAR batch must not contain {module}.{name}")
        return self.ALLOWED[module, name]
