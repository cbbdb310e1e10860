"""Numbers over time: one JSON object a line in ``metrics.jsonl``, always, through Accelerate's tracker interface."""

import json
from pathlib import Path
from typing import Any

from accelerate.tracking import GeneralTracker, on_main_process

from gconv_gan.runtime.atomic import write_text
from gconv_gan.runtime.full_disk import writing


class JsonLinesTracker(GeneralTracker):  # type: ignore[misc]
    """Append ``{"images": step, …}`` to a file; a resumed run drops the lines beyond its starting point first."""

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
        """Do nothing: the run folder's ``config.json`` holds it."""

    @on_main_process  # type: ignore[untyped-decorator]
    def log(self, values: dict[str, Any], step: int | None = None, **_: Any) -> None:
        """Append one line."""
        with writing(self.path), self.path.open("a") as file:
            file.write(json.dumps({"images": step, **values}) + "\n")


def truncate_metrics(path: Path, images: int) -> None:
    """Drop the lines of ``path`` that lie after ``images``, and a last line torn by a crash."""
    if not path.is_file():
        return
    kept = [line for line in path.read_text().splitlines() if _images(line) <= images]
    write_text(path, "".join(f"{line}\n" for line in kept))


def _images(line: str) -> float:
    try:
        return float(json.loads(line)["images"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the lines of ``metrics.jsonl`` as dicts; an absent file has none."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
