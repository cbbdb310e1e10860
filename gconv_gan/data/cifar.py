"""CIFAR-10 from the official Python files.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009). Each batch is a pickled dictionary with ``data``
[10000, 3072] (rows: 1024 red, 1024 green, 1024 blue values) and ``labels``. A pickle can run code, so the bytes are compared with
the published MD5 first and then read by an unpickler that knows three names of NumPy and nothing else.
"""

import hashlib
import io
import pickle
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from gconv_gan.config.data import CIFAR10DataConfig
from gconv_gan.config.errors import UserError
from gconv_gan.data.locking import exclusive
from gconv_gan.data.source import Entry, Picture, Pictures, Source

CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
CIFAR10_ARCHIVE_MD5 = "c58f30108f718f92721af3b95e74349a"
CIFAR10_MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR10_FOLDER = "cifar-10-batches-py"


def cifar10(config: CIFAR10DataConfig, *, md5: Mapping[str, str] = CIFAR10_MD5) -> Source:
    """Return an official split, pixels untouched, in the order of the files.

    Raises:
        UserError: a file is absent (and ``download`` is off), or its MD5 is not ``md5[name]``.

    """
    root = Path(config.path).expanduser().resolve()
    names = [name for name in md5 if name.startswith("data_batch" if config.split == "train" else "test_batch")]
    if config.download:
        _download(root, names)
    batches = {name: _verified(root / CIFAR10_FOLDER / name, md5[name]) for name in names}
    return Source(
        kind=config.kind,
        title="CIFAR-10",
        location=str(root / CIFAR10_FOLDER),
        split=config.split,
        size=config.size,
        fingerprint=hashlib.sha256(b"".join(hashlib.sha256(data).digest() for data in batches.values())).hexdigest(),
        recipe=f"cifar10 v1, split {config.split}; pixels as published",
        open=partial(_open, batches),
    )


def _verified(path: Path, md5: str) -> bytes:
    if not path.is_file():
        raise UserError(
            f"data.path: looked for {path}, which does not exist; set data.download = true (170 MB), "
            f"or unpack {CIFAR10_URL} into {path.parent.parent}"
        )
    data = path.read_bytes()
    found = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if found != md5:
        raise UserError(f"data.path: {path} is not the official file: its MD5 is {found}, not {md5}; delete it and fetch the set again")
    return data


def _download(root: Path, names: list[str]) -> None:
    """Fetch and unpack the official archive where a batch is missing; an archive that is already there is only checked and unpacked."""
    with exclusive(root / ".download.lock", purpose=f"fetching CIFAR-10 into {root}"):
        if all((root / CIFAR10_FOLDER / name).is_file() for name in names):
            return
        from torchvision.datasets.utils import download_and_extract_archive  # imported here: seconds, and only for a download

        try:
            download_and_extract_archive(CIFAR10_URL, str(root), md5=CIFAR10_ARCHIVE_MD5)
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"data.download: cannot fetch {CIFAR10_URL} into {root}: {error}; "
                f"put the archive there yourself and start again, it is then only unpacked"
            ) from error


def _open(batches: Mapping[str, bytes]) -> Pictures:
    loaded = [_load(data) for data in batches.values()]
    return Pictures(sum(len(labels) for _, labels in loaded), CIFAR10_CLASSES, _entries(list(batches), loaded))


def _entries(names: list[str], loaded: list[tuple[np.ndarray, list[int]]]) -> Iterator[Entry]:
    for name, (images, labels) in zip(names, loaded, strict=True):
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            yield Entry(f"{name}[{i}]", partial(_read, image), label)


def _read(image: UInt8[np.ndarray, "3 32 32"]) -> tuple[Picture, str]:
    return image, "array"


def _load(data: bytes) -> tuple[UInt8[np.ndarray, "n 3 32 32"], list[int]]:
    batch = _BatchUnpickler(io.BytesIO(data), encoding="latin1").load()
    return batch["data"].reshape(-1, 3, 32, 32), batch["labels"]


class _BatchUnpickler(pickle.Unpickler):
    """Knows the three names of an array pickled by NumPy 1 under Python 2, so it can make arrays and run nothing."""

    ALLOWED: Mapping[tuple[str, str], Any] = {
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"a CIFAR-10 batch has no business with {module}.{name}")
        return self.ALLOWED[module, name]
