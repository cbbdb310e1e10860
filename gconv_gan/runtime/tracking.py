"""Numbers over time, through Accelerate's tracker interface: always as one JSON object a line in ``metrics.jsonl``."""

import json
from pathlib import Path
from typing import Any

from accelerate.tracking import GeneralTracker, get_available_trackers, on_main_process

from gconv_gan.config.errors import UserError
from gconv_gan.config.schema import Table, give
from gconv_gan.runtime.atomic import write_bytes
from gconv_gan.runtime.full_disk import writing


class JsonLinesTracker(GeneralTracker):  # type: ignore[misc]
    """Append ``{"images": step, …}`` to a file; a resumed run first removes the lines beyond its starting point."""

    name = "jsonl"
    requires_logging_directory = False

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    @property
    def tracker(self) -> Path:
        """Return the file."""
        return self.path

    @on_main_process  # type: ignore[untyped-decorator]
    def store_init_configuration(self, values: dict[str, Any]) -> None:
        """Do nothing: the config is in the run folder's ``config.json``."""

    @on_main_process  # type: ignore[untyped-decorator]
    def log(self, values: dict[str, Any], step: int | None = None, **_: Any) -> None:
        """Append one line."""
        with writing(self.path), self.path.open("a") as file:
            file.write(json.dumps({"images": step, **values}) + "\n")


def jsonl(*, folder: Path) -> JsonLinesTracker:
    """metrics.jsonl of the run folder.

    Returns the tracker that writes it.
    """
    return JsonLinesTracker(folder / "metrics.jsonl")


def tensorboard() -> str:
    """TensorBoard's event files, in events/ of the run folder.

    Returns Accelerate's name of the tracker that writes them.
    """
    return "tensorboard"


TRACKERS = Table("TRACKERS", {"jsonl": jsonl, "tensorboard": tensorboard}, given=("folder",))
"""Trackers: a run sends its numbers to every row. A row is given ``folder`` and returns a tracker, or the name of one of Accelerate's."""


def build_trackers(folder: Path) -> list[GeneralTracker | str]:
    """Return the trackers of the run in ``folder``, for ``Accelerator(log_with=…)``.

    Raises:
        UserError: a row returns no tracker, or the name of one that is not installed.

    """
    found: list[GeneralTracker | str] = []
    known = [str(name) for name in get_available_trackers()]
    for kind, row in TRACKERS.items():
        made = give(row, folder=folder)()
        if isinstance(made, str) and made not in known:
            raise UserError(f"TRACKERS[{kind!r}] asks Accelerate for {made!r}, which it does not know or whose package is not installed")
        if not isinstance(made, str | GeneralTracker):
            raise UserError(
                f"TRACKERS[{kind!r}] returns {type(made).__name__}, but a row returns an Accelerate tracker, or the name of one"
            )
        found.append(made)
    return found


def truncate_metrics(path: Path, images: int) -> None:
    """Remove the lines of ``path`` after ``images``, and an incomplete last line.

    Raises:
        UserError: another line is damaged; no line is removed then.

    """
    if path.is_file():
        kept = [line for line, record in _lines(path) if record["images"] <= images]
        write_bytes(path, b"".join(line + b"\n" for line in kept))


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the lines of ``metrics.jsonl`` as dicts; an absent file has none.

    An incomplete last line is skipped: the run was killed while writing it, or is writing it now.

    Raises:
        UserError: another line is damaged.

    """
    return [record for _, record in _lines(path)] if path.is_file() else []


def _lines(path: Path) -> list[tuple[bytes, dict[str, Any]]]:
    """Return every complete line of a metrics file with its parsed content."""
    *lines, unfinished = path.read_bytes().split(b"\n")
    found = []
    for number, line in enumerate([*lines, unfinished], 1):
        record = _record(line)
        if record is not None:
            found.append((line, record))
        elif number <= len(lines):
            raise UserError(f'{path}: line {number} is damaged (no JSON object with the number "images"): delete that line')
    return found


def _record(line: bytes) -> dict[str, Any] | None:
    """Return the parsed content of a line; None if it is incomplete, that is, not a JSON object."""
    try:
        record = json.loads(line)
    except ValueError:  # UnicodeDecodeError is one
        return None
    return record if isinstance(record, dict) and isinstance(record.get("images"), int | float) else None
