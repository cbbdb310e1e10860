"""Best checkpoints by score: ``best.json`` in the run folder lists them, and training does not delete them.

Scores computed during training are kept in the training state; this file is for scores computed by another command.
"""

import json
from pathlib import Path

from gconv_gan.config.errors import UserError
from gconv_gan.runtime.files.atomic import write_text
from gconv_gan.runtime.files.locking import exclusive

FILE = "best.json"


def mark_best(folder: Path, score: str, *, images: int, value: float, out_of: int) -> None:
    """Record that of ``out_of`` checkpoints the one at ``images`` images has the best ``score`` ("protocol/fid").

    Two commands may write at the same time: the entries of both are kept.
    """
    with exclusive(folder / f".{FILE}.lock", purpose=f"writing {folder / FILE}"):
        marks = _read(folder) or {}
        marks[score] = {"images": images, "value": value, "out_of": out_of}
        write_text(folder / FILE, json.dumps(marks, indent=2) + "\n")


def best_marks(folder: Path) -> dict[str, dict[str, int | float]]:
    """Return score -> its best checkpoint as ``images``, ``value`` and ``out_of``; nothing if the file is damaged."""
    return _read(folder) or {}


def marked(folder: Path) -> dict[str, int]:
    """Return score -> images seen at its best checkpoint; raise ``UserError`` if the file cannot be read."""
    marks = _read(folder)
    if marks is None:
        raise UserError(f"{folder / FILE} cannot be read: run gconv-gan curve again, or name the checkpoint by its images")
    return {score: int(mark["images"]) for score, mark in marks.items()}


def is_marked(folder: Path, images: int) -> bool:
    """Return whether the checkpoint at ``images`` images is the best by any score; True for every checkpoint if the file is damaged."""
    marks = _read(folder)
    return marks is None or any(mark["images"] == images for mark in marks.values())


def _read(folder: Path) -> dict[str, dict[str, int | float]] | None:
    """Return the entries of the file; None if it cannot be read."""
    try:
        marks = json.loads((folder / FILE).read_text())
    except FileNotFoundError:
        return {}
    except ValueError:
        return None
    whole = isinstance(marks, dict) and all(isinstance(mark, dict) and isinstance(mark.get("images"), int) for mark in marks.values())
    return marks if whole else None
