"""Choice of a run's checkpoint: by its number of images, the best by the run's own scores, or the newest."""

import json
from dataclasses import dataclass
from pathlib import Path

from gconv_gan.config.commands import CheckpointChoice
from gconv_gan.config.errors import UserError
from gconv_gan.training.best import marked
from gconv_gan.training.checkpoint import checkpoints, damage, newest_whole


@dataclass(frozen=True)
class Chosen:
    """A complete checkpoint and the rule by which it was chosen."""

    path: Path
    rule: str
    """last, chosen, or best by which score."""


def choose_checkpoint(folder: Path, choice: CheckpointChoice | None) -> Chosen:
    """Return the checkpoint of ``choice``; None: the newest complete one.

    Raises:
        UserError: it is absent or damaged, or the run has no best checkpoint, or several.

    """
    if choice is None:
        return Chosen(_newest(folder), "last")
    images, rule = best_of(folder) if choice == "best" else (choice, "chosen")
    path = folder / f"checkpoint-{images}"
    if not path.is_dir():
        raise UserError(f"{folder} has no checkpoint at {images} images; it has {[n for n, _ in checkpoints(folder)]}")
    fault = damage(path)
    if fault is not None:
        raise UserError(f"{path} is damaged: {fault}")
    return Chosen(path, rule)


def best_of(folder: Path) -> tuple[int, str]:
    """Return images seen at a run's best checkpoint and the rule: by its score curves, else by its score during training.

    Raises:
        UserError: the run has no best checkpoint, or its curves name different ones.

    """
    marks = marked(folder)
    if len(set(marks.values())) > 1:
        named = ", ".join(f"{images} by {score}" for score, images in marks.items())
        raise UserError(f"{folder} has several best checkpoints ({named}): name one by its number of images")
    if marks:
        return next(iter(marks.values())), f"best by {', '.join(marks)}"
    progress = json.loads((_newest(folder) / "state.json").read_text())["progress"]
    if progress.get("best_images") is None:
        raise UserError(f"{folder} keeps no best checkpoint: run gconv-gan curve on it, or train with evaluation.every above 0")
    return int(progress["best_images"]), f"best by {progress['best_name']} during training"


def _newest(folder: Path) -> Path:
    path = newest_whole(folder, print)
    if path is None:
        raise UserError(f"{folder} has no whole checkpoint yet")
    return path
