"""Interface between a data set and the cache: identity and pictures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from jaxtyping import UInt8

from gconv_gan.config.sections.data import Storage

Picture = UInt8[np.ndarray, "3 s s"]


@dataclass(frozen=True)
class Entry:
    """One picture: its name, a function that reads it, and its class index.

    ``read`` returns the picture and the name of its file format; it raises ``DamagedImageError`` if the picture cannot be decoded. It is
    called from several threads at once.
    """

    name: str
    read: Callable[[], tuple[Picture, str]]
    label: int | None


class Entries(Sequence[Entry]):
    """A sequence of ``count`` entries that are created on access, so that a million of them need no memory."""

    def __init__(self, count: int, entry: Callable[[int], Entry]) -> None:
        self._count, self._entry = count, entry

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Entry: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Entry]: ...

    def __getitem__(self, index: int | slice) -> Entry | Sequence[Entry]:
        if isinstance(index, slice):
            return [self._entry(i) for i in range(*index.indices(self._count))]
        if not 0 <= index < self._count:
            raise IndexError(index)
        return self._entry(index)


@dataclass(frozen=True)
class Pictures:
    """The opened data set: names of the classes (none: unlabelled), and the pictures in their final order."""

    classes: tuple[str, ...]
    entries: Sequence[Entry]
    shards: tuple[int, ...] = ()
    """Number of pictures in each shard, for sets in shards."""
    left_out: str = ""
    """One sentence on the skipped files, with the reason; "" if there are none."""


@dataclass(frozen=True)
class Source:
    """A data set before conversion. Equal ``fingerprint`` and ``recipe`` mean equal pixels."""

    kind: str
    title: str
    """The data set's name."""
    location: str
    """Its location, for messages and the manifest."""
    split: str | None
    size: int
    fingerprint: str
    """SHA-256 of its content."""
    recipe: str
    """The selection of pictures and the steps from file to [3, size, size]."""
    published: str
    """The published preprocessing that gives the same pixels."""
    open: Callable[[], Pictures]
    left_out: Callable[[], str] | None = None
    """``Pictures.left_out`` of a set whose fingerprint does not cover skipped files; None: that of the manifest."""
    may_skip: bool = False
    """Leave damaged images out and list them in the manifest; otherwise a damaged image is an error."""
    storage: Storage = "pixels"
    """pixels: convert once; encoded: decode at every access."""
    window: int = 0
    """Shuffle within groups of this many shards; 0: among all images."""
