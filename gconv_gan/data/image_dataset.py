"""A converted data set: images, labels, and the manifest that describes them and their source."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8

from gconv_gan.config.base import Config
from gconv_gan.data.reading.decoded_images import DecodedImages


class SkippedImage(Config):
    """A damaged image that was left out, and the reason."""

    name: str
    reason: str


class Manifest(Config):
    """Description of a converted data set and of its source."""

    title: str
    """The data set's name in scores; it marks a re-encoded copy of CIFAR-10."""
    kind: str
    location: str
    """Location of the source at the time of conversion."""
    split: str | None
    size: int
    count: int
    classes: tuple[str, ...]
    """Names of the classes in the order of their labels; empty: unlabelled."""
    class_counts: tuple[int, ...]
    formats: dict[str, int]
    """Number of images by file format (JPEG, PNG, …); "array" if they come from array files."""
    recipe: str
    """The selection of pictures, and every step from file to pixels."""
    source_hash: str
    """SHA-256 of the source's content."""
    content_hash: str
    """SHA-256 of images, labels and class names: equal hashes mean equal data, independent of their source."""
    skipped: tuple[SkippedImage, ...]
    left_out: str = ""
    """One sentence on the skipped files, with the reason."""
    shards: tuple[int, ...] = ()
    """Number of images in each shard, for sets in shards."""
    pillow: str
    """Version of Pillow that decoded and resized."""


@dataclass(frozen=True)
class ImageDataset:
    """Uint8 RGB images of one size, memory-mapped read-only or decoded at every access, and their labels; None for unlabelled pictures."""

    images: UInt8[np.ndarray, "n 3 s s"] | DecodedImages
    labels: Int64[np.ndarray, " n"] | None
    manifest: Manifest
    folder: Path
    """Folder of the arrays."""
    window: int = 0
    """Shuffle within groups of this many shards; 0: among all images."""

    def __len__(self) -> int:
        return len(self.images)

    @property
    def title(self) -> str:
        """The data set's name in scores."""
        return self.manifest.title

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the names of the classes in the order of their labels; empty for unlabelled pictures."""
        return self.manifest.classes

    @property
    def num_classes(self) -> int | None:
        """Return the number of classes; None for unlabelled pictures."""
        return len(self.classes) or None

    @property
    def classes_without_images(self) -> tuple[str, ...]:
        """Return the names of the classes without images."""
        return tuple(name for name, count in zip(self.classes, self.manifest.class_counts, strict=True) if count == 0)

    @property
    def content_hash(self) -> str:
        """Return the SHA-256 of images, labels and class names: the identity of the data in a score card or a run."""
        return self.manifest.content_hash
