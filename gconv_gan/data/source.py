"""What a data set gives to the cache: its identity, and its pictures when asked."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

Picture = UInt8[np.ndarray, "3 s s"]


@dataclass(frozen=True)
class Entry:
    """One picture: its name, how to read it, and its class index.

    ``read`` returns the picture and the name of its file format; it raises ``DamagedImageError`` where it cannot be decoded.
    """

    name: str
    read: Callable[[], tuple[Picture, str]]
    label: int | None


@dataclass(frozen=True)
class Pictures:
    """The opened data set: number of pictures, names of the classes (none: unlabelled), and the pictures in their final order."""

    count: int
    classes: tuple[str, ...]
    entries: Iterator[Entry]


@dataclass(frozen=True)
class Source:
    """A data set before conversion. Equal ``fingerprint`` and ``recipe`` mean equal pixels."""

    kind: str
    title: str
    """The data set's name."""
    location: str
    """Where it was found, for messages and the manifest."""
    split: str | None
    size: int
    fingerprint: str
    """SHA-256 of its content."""
    recipe: str
    """Everything that decides which pictures are taken and how they become [3, size, size]."""
    open: Callable[[], Pictures]
