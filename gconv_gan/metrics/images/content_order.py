"""Order of picture files by the hash of their pixels, so that no score depends on file names, folders or archives.

The splits of the Inception Score, the subsets of KID and of FID∞, and the choice of fewer images than there are use image numbers.
A generated image i is a function of its seed and i. Files have no such number: an order by name changes with folders and renaming,
and an order by class makes splits of single classes. Here image i is the image whose pixels have the i-th smallest SHA-256. The order
of images with equal pixels has no effect.
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
from gconv_gan.runtime.files.atomic import write_text
from gconv_gan.runtime.files.locking import exclusive

Source = TypeVar("Source", bound=StoredImages, covariant=True)
BY_CONTENT: Order = "SHA-256 of pixels"


class ContentOrder(Generic[Source]):
    """The images of ``source`` in the order of the SHA-256 of their pixels.

    Args:
        source: the images; each is read once, and its hash is stored.
        memory: folder of the stored hashes; the file name is derived from the source's fingerprint.

    Attributes:
        order: the number in ``source`` of each image.
        size: side of the images in pixels.
        formats: names of their file formats.
        fingerprint: SHA-256 over the images' hashes: equal for equal pixels, independent of file names and archives.

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
        """Return block ``index`` in this order, see ``StoredImages``."""
        return self.take(block_range(index, len(self)))

    def take(self, indices: Sequence[int]) -> UInt8[Tensor, "b 3 h w"]:
        """Return the images with these numbers in this order, see ``StoredImages``."""
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
