"""Statistics of the real images, cached under a key made of content: never under a name.

A cache keyed by a data set's name silently serves another data set's statistics. Here the key is a hash of everything that
decides the numbers, and the file's own hash is stored beside it, so that a changed file is refused.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Float64
from safetensors.torch import load_file, save_file
from torch import Tensor

from gconv_gan.config.base import Config
from gconv_gan.config.errors import UserError
from gconv_gan.metrics.frechet import symmetric_root
from gconv_gan.metrics.score_card import ExtractorCard, ReferenceCard
from gconv_gan.metrics.statistics import Moments
from gconv_gan.metrics.weights import sha256_of
from gconv_gan.runtime.atomic import new_folder

TENSORS, DESCRIPTION = "statistics.safetensors", "statistics.json"


class StatisticsKey(Config):
    """What the statistics depend on; equal keys mean equal numbers."""

    fingerprint: str
    """Content hash of the data and the choice among them."""
    split: str | None
    recipe: str
    count: int
    extractor: ExtractorCard
    with_features: bool
    library_majors: dict[str, str]

    def digest(self) -> str:
        """Return the SHA-256 of the key."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


class StatisticsFile(Config):
    """``statistics.json``: the key, the hash of the tensors beside it, and the reference's card."""

    key: StatisticsKey
    tensors_sha256: str
    reference: ReferenceCard


def library_majors() -> dict[str, str]:
    """Return the major versions of the libraries that compute features."""
    return {"torch": torch.__version__.split(".")[0], "numpy": np.__version__.split(".")[0]}


@dataclass(frozen=True)
class ReferenceStatistics:
    """Count, mean and covariance of the reals' features, optionally the features themselves, and what they are of."""

    moments: Moments
    features: Float32[Tensor, "n d"] | None
    reference: ReferenceCard
    extractor: ExtractorCard
    stored_root: Float64[Tensor, "d d"] | None = None

    @cached_property
    def root(self) -> Float64[Tensor, "d d"]:
        """The root of the covariance, as it was stored or computed when first asked for (few fakes never ask)."""
        return symmetric_root(self.moments.covariance) if self.stored_root is None else self.stored_root


def statistics_folder(cache_dir: Path, key: StatisticsKey) -> Path:
    """Return where the statistics of ``key`` lie."""
    return cache_dir / key.digest()[:32]


def save_statistics(cache_dir: Path, key: StatisticsKey, statistics: ReferenceStatistics) -> Path:
    """Write the statistics under their key, whole or not at all, read-only, and return their folder; an existing one is kept."""
    folder = statistics_folder(cache_dir, key)
    if folder.exists():
        return folder
    cache_dir.mkdir(parents=True, exist_ok=True)
    tensors = {"mean": statistics.moments.mean, "covariance": statistics.moments.covariance, "root": statistics.root}
    if statistics.features is not None:
        tensors["features"] = statistics.features
    with new_folder(folder) as temporary:
        save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, temporary / TENSORS)
        described = StatisticsFile(key=key, tensors_sha256=sha256_of(temporary / TENSORS), reference=statistics.reference)
        (temporary / DESCRIPTION).write_text(described.model_dump_json(indent=2))
        for name in (TENSORS, DESCRIPTION):
            os.chmod(temporary / name, 0o444)
    return folder


def load_statistics(folder: Path) -> ReferenceStatistics:
    """Read the statistics in ``folder``.

    Raises:
        UserError: where a file is missing, or one was changed after it was written.

    """
    description, tensors = folder / DESCRIPTION, folder / TENSORS
    if not description.is_file() or not tensors.is_file():
        raise UserError(f"{folder} holds no reference statistics ({DESCRIPTION} and {TENSORS})")
    try:
        described = StatisticsFile.model_validate_json(description.read_text())
    except ValueError as error:
        raise UserError(f"{description} is damaged; delete the folder {folder} to compute the statistics again") from error
    if sha256_of(tensors) != described.tensors_sha256 or folder.name != described.key.digest()[:32]:
        raise UserError(f"the statistics in {folder} were changed after they were written; delete the folder to compute them again")
    held = load_file(tensors)
    moments = Moments(described.key.count, held["mean"], held["covariance"])
    return ReferenceStatistics(moments, held.get("features"), described.reference, described.key.extractor, stored_root=held["root"])
