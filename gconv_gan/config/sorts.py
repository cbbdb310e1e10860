"""Sorts of configs and run folders, told apart by a key that only one of them has: the wrong sort is named for what it is."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gconv_gan.config.base import Config
from gconv_gan.config.errors import UserError


@dataclass(frozen=True)
class Sort:
    """A key at the top of every config of this sort, and what to do with a config file and with a folder that holds one."""

    key: str
    file: str
    folder: str


SORTS = (
    # first: it holds a GAN's config, too
    Sort(
        "weights_sha256",
        "the description of an exported generator: draw a grid of its images with python -m gconv_gan.sample",
        "an exported generator; draw a grid of its images with python -m gconv_gan.sample, or name the run it came from",
    ),
    Sort("discriminator", "a GAN's config: use train_gan.py", "a GAN's run; score it with eval/gan_metrics.py"),
    Sort("test_data", "a classifier's config: use train_classifier.py", "a classifier's run; test it with eval/classifier.py"),
    Sort("arms", "a comparison of layers: use eval/compare_layers.py", "a comparison of layers; run it with eval/compare_layers.py"),
)


def other_sort(model: type[Config], data: Mapping[str, Any]) -> Sort | None:
    """Return the sort of config that ``data`` is where it is plainly another than ``model``'s; else None."""
    if any(sort.key in data for sort in SORTS if sort.key in model.model_fields):
        return None
    return next((sort for sort in SORTS if sort.key in data and sort.key not in model.model_fields), None)


def require_folder_of(model: type[Config], folder: Path) -> None:
    """Raise ``UserError`` where the ``config.json`` of ``folder`` is of another sort than ``model``; a folder without one passes."""
    try:
        data = json.loads((folder / "config.json").read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return  # reading it in earnest says what is wrong
    sort = other_sort(model, data) if isinstance(data, dict) else None
    if sort is not None:
        raise UserError(f"{folder} is {sort.folder}")
