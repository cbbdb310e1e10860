"""Checkpoints that a score has chosen: ``best.json`` in the run folder names them, and they are not deleted.

Scores computed during training are kept in the training state; this file is for those computed afterwards, or beside it.
"""

import json
from pathlib import Path

from gconv_gan.runtime.atomic import write_text

FILE = "best.json"


def mark_best(folder: Path, score: str, *, images: int, value: float, out_of: int) -> None:
    """Record that of ``out_of`` checkpoints the one at ``images`` images has the best ``score`` ("protocol/fid")."""
    marks = _read(folder) or {}
    marks[score] = {"images": images, "value": value, "out_of": out_of}
    write_text(folder / FILE, json.dumps(marks, indent=2) + "\n")


def is_marked(folder: Path, images: int) -> bool:
    """Whether the checkpoint at ``images`` images is the best by some score; of a damaged file, every one may be."""
    marks = _read(folder)
    return marks is None or any(mark.get("images") == images for mark in marks.values())


def _read(folder: Path) -> dict[str, dict[str, int | float]] | None:
    """Return the marks; None where the file cannot be read."""
    try:
        marks = json.loads((folder / FILE).read_text())
    except FileNotFoundError:
        return {}
    except ValueError:
        return None
    return marks if isinstance(marks, dict) and all(isinstance(mark, dict) for mark in marks.values()) else None
