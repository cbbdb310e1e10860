"""A picture with its caption and description, and a row of the table of pictures.

A drawing function takes the trained, a seed and its own parameters, and returns drawings: an empty list if the run lacks the data
(no classes, no gates, no history). It depends on nothing else, so that the manifest can repeat the call.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Sample:
    """A numbered image of a grid."""

    seed: int
    number: int
    """Image i of a seed has the same latent in scores, samples and galleries."""
    class_name: str
    """Empty for an unconditional generator."""
    truncation: float | None
    """Threshold of z, or ψ with a mapping network; None: not truncated."""
    command: str
    """The command line that writes it as a file."""


@dataclass(frozen=True)
class Drawing:
    """A picture with its text.

    Args:
        file: name of the file, unique in the gallery.
        content: the file's bytes.
        title: a few words.
        caption: what the rows and columns are, and what to compare.
        alt: description of the picture for screen readers.
        dark: the same picture in the dark theme, for plots; None: the picture serves both themes.
        row_labels: a name per row of a grid; the page shows them beside the picture.
        groups: name and number of the columns of each group of columns of a grid, from the left; the page shows the names above.
        samples: what each image of a grid is, a tuple per row; None for one that is no numbered image.
        facts: numbers that belong to the picture.
        still: one frame of an animation as a PNG, for browsers that request reduced motion.
        enlarged: side, in pixels of the page, at which one pixel of the file is shown.
        shape: a "sheet" has the width of the page; several "panels" share a row.

    """

    file: str
    content: bytes
    title: str
    caption: str
    alt: str
    dark: bytes | None = None
    row_labels: tuple[str, ...] = ()
    groups: tuple[tuple[str, int], ...] = ()
    samples: tuple[tuple[Sample | None, ...], ...] = ()
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
        """Return the name of the dark variant: "x.png" -> "x-dark.png"."""
        stem, _, suffix = self.file.rpartition(".")
        return f"{stem}-dark.{suffix}"

    @property
    def still_file(self) -> str:
        """Return the name of the still frame of an animation: "x.gif" -> "x-still.png"."""
        return f"{self.file.rpartition('.')[0]}-still.png"


@dataclass(frozen=True)
class PictureKind:
    """A row of the table: the drawing function, its parameters, and the section of the page."""

    section: str
    draw: Callable[..., list[Drawing]]
    parameters: Mapping[str, Any] = field(default_factory=dict)
