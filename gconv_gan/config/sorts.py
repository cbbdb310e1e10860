"""Sorts of configs and run folders, distinguished by a key that only one of them has, for messages about a wrong sort."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gconv_gan.config.base import Config
from gconv_gan.config.errors import UserError


@dataclass(frozen=True)
class Sort:
    """A top-level key of every config of this sort, and messages for a config file and for a folder with one."""

    key: str
    file: str
    folder: str


SORTS = (
    # first, since it contains a GAN's config too
    Sort(
        "weights_sha256",
        "the description of an exported generator: draw a grid of its images with gconv-gan sample",
        "an exported generator; draw a grid of its images with gconv-gan sample, or name the run it came from",
    ),
    Sort("discriminator", "a GAN's config: use gconv-gan train", "a GAN's run; score it with gconv-gan score"),
    Sort("test_data", "a classifier's config: use gconv-gan classify", "a classifier's run; test it with gconv-gan test"),
    Sort("arms", "an ablation: use gconv-gan ablate", "an ablation; run it with gconv-gan ablate"),
)


def other_sort(model: type[Config], data: Mapping[str, Any]) -> Sort | None:
    """Return the sort of the config ``data`` if it differs from that of ``model``; else None."""
    if any(sort.key in data for sort in SORTS if sort.key in model.model_fields):
        return None
    return next((sort for sort in SORTS if sort.key in data and sort.key not in model.model_fields), None)


def require_folder_of(model: type[Config], folder: Path) -> None:
    """Raise ``UserError`` if the ``config.json`` of ``folder`` is of another sort than ``model``; a folder without one is accepted."""
    try:
        data = json.loads((folder / "config.json").read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return  # the full read reports the error
    sort = other_sort(model, data) if isinstance(data, dict) else None
    if sort is not None:
        raise UserError(f"{folder} is {sort.folder}")
