"""A converted data set: images, labels, and the manifest that says what they are and where they came from."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8

from gconv_gan.config.base import Config
from gconv_gan.data.decoded_images import DecodedImages


class SkippedImage(Config):
    """A damaged image that was left out, and why."""

    name: str
    reason: str


class Manifest(Config):
    """What a converted data set is, and where it came from."""

    title: str
    """The name that scores carry; a re-encoded copy of CIFAR-10 says so."""
    kind: str
    location: str
    """Where the source was when it was converted."""
    split: str | None
    size: int
    count: int
    classes: tuple[str, ...]
    """Names of the classes in the order of their labels; empty: unlabelled."""
    class_counts: tuple[int, ...]
    formats: dict[str, int]
    """How many images were JPEG, PNG, …; "array" where they come from no picture file."""
    recipe: str
    """What decided which pictures are in, and every step from file to pixels."""
    source_hash: str
    """SHA-256 of the source's content."""
    content_hash: str
    """SHA-256 of images, labels and class names: equal hashes mean equal data, wherever they came from."""
    skipped: tuple[SkippedImage, ...]
    left_out: str = ""
    """One sentence on the files that are no pictures of the set, and why."""
    shards: tuple[int, ...] = ()
    """How many of the images lie in each shard, for sets that come in shards."""
    pillow: str
    """Version of Pillow that decoded and resized."""


@dataclass(frozen=True)
class ImageDataset:
    """Uint8 RGB images of one size, memory-mapped read-only or decoded at every access, and their labels; None for unlabelled pictures."""

    images: UInt8[np.ndarray, "n 3 s s"] | DecodedImages
    labels: Int64[np.ndarray, " n"] | None
    manifest: Manifest
    folder: Path
    """Where the arrays lie."""
    window: int = 0
    """Shuffle within groups of this many shards; 0: among all images."""

    def __len__(self) -> int:
        return len(self.images)

    @property
    def title(self) -> str:
        """The name that scores carry."""
        return self.manifest.title

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes in the order of their labels; empty for unlabelled pictures."""
        return self.manifest.classes

    @property
    def num_classes(self) -> int | None:
        """Number of classes; None for unlabelled pictures."""
        return len(self.classes) or None

    @property
    def classes_without_images(self) -> tuple[str, ...]:
        """Names of the classes of which there is no image."""
        return tuple(name for name, count in zip(self.classes, self.manifest.class_counts, strict=True) if count == 0)

    @property
    def content_hash(self) -> str:
        """SHA-256 of images, labels and class names: the identity of the data in a score card or a run."""
        return self.manifest.content_hash
