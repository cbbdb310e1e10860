"""A finished picture with the words that go with it, and a line of the table of pictures.

A drawing function takes the subject, a seed and its own parameters, and returns finished drawings: an empty list where the run
has nothing to show (no classes, no gates, no history). It depends on nothing else, so that the manifest can repeat the call.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Drawing:
    """A finished picture and what a page says about it.

    Args:
        file: name of the file, unique in the gallery.
        content: the file's bytes.
        title: a few words.
        caption: what to look for, in plain words.
        alt: what the picture shows, for readers who cannot see it.
        dark: the same picture for dark pages, where it has colours of its own (plots).
        row_labels: a name per row of a grid; the page sets them beside the picture.
        facts: numbers that belong to the picture.
        still: one frame of an animation as a PNG, shown to readers who ask for less motion.
        enlarged: pixels of the page, to a side, for one pixel of the file.
        shape: a "sheet" takes the width of the page, a "panel" stands beside others.

    """

    file: str
    content: bytes
    title: str
    caption: str
    alt: str
    dark: bytes | None = None
    row_labels: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    still: bytes | None = None
    enlarged: int = 1
    shape: Literal["sheet", "panel"] = "sheet"

    def files(self) -> dict[str, bytes]:
        """Return every file of the drawing by name."""
        variants = {self.file: self.content, self.dark_file: self.dark, self.still_file: self.still}
        return {name: content for name, content in variants.items() if content is not None}

    @property
    def dark_file(self) -> str:
        """Name of the dark variant: "x.png" -> "x-dark.png"."""
        stem, _, suffix = self.file.rpartition(".")
        return f"{stem}-dark.{suffix}"

    @property
    def still_file(self) -> str:
        """Name of the frame that stands for an animation: "x.gif" -> "x-still.png"."""
        return f"{self.file.rpartition('.')[0]}-still.png"


@dataclass(frozen=True)
class PictureKind:
    """A line of the table: which function draws it, with which parameters, in which section of the page."""

    section: str
    draw: Callable[..., list[Drawing]]
    parameters: Mapping[str, Any] = field(default_factory=dict)
