"""Files of pictures in an order made of their pixels, so that no score depends on names, folders or archives.

Whatever cuts or draws (the splits of the Inception Score, the subsets of KID and of FID∞, the choice of fewer images than there are)
goes by an image's number. A generator's image i is a function of its seed and i. Files have no such number: what their names give
changes with folders and renaming, and where the names are sorted by class, so are the splits. Here image i is the one whose pixels
have the i-th smallest SHA-256. Pictures with equal pixels may change places, which changes nothing.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Generic, TypeVar

import PIL
from jaxtyping import UInt8
from torch import Tensor

from gconv_gan.metrics.images.sources import StoredImages, block_range
from gconv_gan.metrics.score_card import Order
from gconv_gan.runtime.atomic import write_text
from gconv_gan.runtime.locking import exclusive

Source = TypeVar("Source", bound=StoredImages, covariant=True)
BY_CONTENT: Order = "SHA-256 of pixels"


class ContentOrder(Generic[Source]):
    """The images of ``source`` in the order of the SHA-256 of their pixels.

    Args:
        source: the images; every one is read once, and what it hashes to is remembered.
        memory: the folder that remembers it, under a name made of the source's fingerprint.

    Attributes:
        order: the number in ``source`` of each image.
        size: side of the images in pixels.
        formats: names of their file formats.
        fingerprint: SHA-256 over the images' hashes: equal for equal pictures, however they are called and packed.

    """

    def __init__(self, source: Source, *, memory: Path) -> None:
        self.source = source
        first = source.take([0])
        self.size = first.shape[-1]
        key = hashlib.sha256(json.dumps([source.fingerprint, len(source), _hash(first[0]), PIL.__version__]).encode()).hexdigest()
        hashes, self.formats = _remembered(source, memory / f"{key}.pixels.json")
        self.order = sorted(range(len(source)), key=hashes.__getitem__)
        self.fingerprint = hashlib.sha256("".join(sorted(hashes)).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.order)

    def block(self, index: int) -> UInt8[Tensor, "b 3 h w"]:
        return self.take(block_range(index, len(self)))

    def take(self, indices: Sequence[int]) -> UInt8[Tensor, "b 3 h w"]:
        return self.source.take([self.order[index] for index in indices])


def _remembered(source: StoredImages, place: Path) -> tuple[list[str], tuple[str, ...]]:
    """Return the hash of every image and the names of their formats; one process reads the images, others wait for it."""
    with exclusive(place.with_name(f".{place.name}.lock"), purpose="reading the same pictures"):
        if not place.is_file():
            hashes = [_hash(image) for start in range(0, len(source), 256) for image in source.block(start // 256)]
            write_text(place, json.dumps({"hashes": hashes, "formats": sorted(source.formats)}))
        found = json.loads(place.read_text())
    return found["hashes"], tuple(found["formats"])


def _hash(image: UInt8[Tensor, "3 h w"]) -> str:
    return hashlib.sha256(repr(tuple(image.shape)).encode() + image.contiguous().numpy().tobytes()).hexdigest()
