"""Fashion-MNIST from the official IDX files.

Xiao, Rasul and Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms" (2017). An IDX file is
two zero bytes, the type (8: unsigned byte), the number of axes, each axis as a big-endian 32-bit integer, then the bytes in C order;
LeCun's MNIST page defines it. Debian repacks the files, so the checksum is that of the unpacked content.
"""

import gzip
import hashlib
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from gconv_gan.config.errors import AbsentDataError, UserError
from gconv_gan.config.sections.data import FashionMNISTDataConfig
from gconv_gan.data.sources.official import OfficialFile, failure_page, fetch
from gconv_gan.data.sources.source import Entries, Entry, Picture, Pictures, Source

DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # folder of the Debian package dataset-fashion-mnist
SITE = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


@dataclass(frozen=True)
class IdxFile:
    """A published IDX file: its compressed form for download, and the SHA-256 of its content."""

    packed: OfficialFile
    sha256: str

    @property
    def name(self) -> str:
        """The file's name without .gz."""
        return self.packed.name.removesuffix(".gz")


def _idx(name: str, md5: str, size: int, sha256: str) -> IdxFile:
    return IdxFile(OfficialFile(f"{name}.gz", f"{SITE}{name}.gz", f"md5:{md5}", size), sha256)


FASHION_MNIST: Mapping[str, tuple[IdxFile, IdxFile]] = {
    "train": (
        _idx(
            "train-images-idx3-ubyte",
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            26_421_880,
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        ),
        _idx(
            "train-labels-idx1-ubyte",
            "25c81989df183df01b3e8a0aad5dffbe",
            29_515,
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        ),
    ),
    "test": (
        _idx(
            "t10k-images-idx3-ubyte",
            "bef4ecab320f06d8554ea6380940ec79",
            4_422_102,
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        ),
        _idx(
            "t10k-labels-idx1-ubyte",
            "bb300cfdad3c16e7a12a480ee83cd310",
            5_148,
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
}


def fashion_mnist(
    config: FashionMNISTDataConfig, *, files: Mapping[str, tuple[IdxFile, IdxFile]] = FASHION_MNIST, debian: Path = DEBIAN
) -> Source:
    """Return an official split in the order of the file; grey becomes RGB, and size 32 adds a black border of two pixels.

    Raises:
        UserError: a file is absent (and ``download`` is off), or its content is not the published one.

    """
    root = Path(config.path).expanduser().resolve()
    places = (root, root / "FashionMNIST" / "raw", debian)  # the second is torchvision's
    wanted = files[config.split]
    found = [_find(file, places) for file in wanted]
    if config.download and None in found:
        fetch([file.packed for file in wanted], root)
        found = [_find(file, places) for file in wanted]
    contents = []
    for file, path in zip(wanted, found, strict=True):
        if path is None:
            raise AbsentDataError(
                f"data.path: looked for {file.packed.name} in {', '.join(map(str, places))}; set data.download = true "
                f"{wanted[0].packed.needs.strip()}, install Debian's dataset-fashion-mnist, or put {file.packed.url} into {root}"
            )
        contents.append(_content(path, file))
    border = (config.size - 28) // 2
    return Source(
        kind=config.kind,
        title="Fashion-MNIST",
        location=str(found[0]),
        split=config.split,
        size=config.size,
        fingerprint=hashlib.sha256(b"".join(hashlib.sha256(content).digest() for content in contents)).hexdigest(),
        recipe=f"fashion_mnist v1, split {config.split}; grey to RGB, black border of {border} pixels",
        published="the pixels as published, 28×28" + (" inside a black border, torchvision's Pad(2)" if border else ""),
        open=partial(_open, contents[0], contents[1], border),
    )


def _find(file: IdxFile, places: tuple[Path, ...]) -> Path | None:
    candidates = (place / name for place in places for name in (file.packed.name, file.name))
    return next((path for path in candidates if path.is_file()), None)


def _content(path: Path, file: IdxFile) -> bytes:
    """Return the unpacked content after comparison with the published hash; distributors compress it differently."""
    data = path.read_bytes()
    if path.suffix == ".gz":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(f"data.path: {failure_page(path) or f'{path} is no whole gzip file ({error}); fetch it again'}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != file.sha256:
        raise UserError(
            f"data.path: {path} is not the official file: the SHA-256 of its content is {found}, not {file.sha256}; "
            "delete it and fetch the set again"
        )
    return data


def _open(images: bytes, labels: bytes, border: int) -> Pictures:
    grey, numbers = read_idx(images), read_idx(labels)
    return Pictures(CLASSES, Entries(len(grey), lambda i: Entry(f"image {i}", partial(_read, grey[i], border), int(numbers[i]))))


def read_idx(content: bytes) -> UInt8[np.ndarray, "..."]:
    """Return the bytes of an IDX file in its shape.

    Raises:
        ValueError: its type is not bytes, or their number differs from its shape.

    """
    zeros, kind, axes = struct.unpack(">HBB", content[:4])
    if (zeros, kind) != (0, 8):
        raise ValueError(f"no IDX file of unsigned bytes: it begins with {content[:4].hex()}")
    shape = struct.unpack(f">{axes}I", content[4 : 4 + 4 * axes])
    return np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * axes).reshape(shape)


def _read(grey: UInt8[np.ndarray, "28 28"], border: int) -> tuple[Picture, str]:
    return np.repeat(np.pad(grey, border)[None], 3, axis=0), "array"
