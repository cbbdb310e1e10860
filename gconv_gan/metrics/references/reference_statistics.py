"""Statistics of the real images, cached under a hash of the content, not under a name.

A cache keyed by a data set's name may return the statistics of other data. Here the key is a hash of everything that determines
the numbers, and the hash of the file is stored beside it, so that a changed file is refused.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from safetensors.torch import load_file
from torch import Tensor

from gconv_gan.config.base import Config
from gconv_gan.config.errors import UserError
from gconv_gan.metrics.extractors.inception import Extractor
from gconv_gan.metrics.extractors.weights import sha256_of
from gconv_gan.metrics.frechet import symmetric_root
from gconv_gan.metrics.images.extraction import ALONE, Processes, Wanted, extract, usual_batch_size
from gconv_gan.metrics.images.sources import StoredImages
from gconv_gan.metrics.neighbours import squared_radii
from gconv_gan.metrics.references.reference_geometry import ReferenceGeometry, reference_geometry
from gconv_gan.metrics.score_card import ExtractorCard, Order, ReferenceCard, extractor_card
from gconv_gan.metrics.statistics import Moments
from gconv_gan.runtime.files.atomic import new_folder
from gconv_gan.runtime.tensors import save_tensors

TENSORS, DESCRIPTION = "statistics.safetensors", "statistics.json"


class StatisticsKey(Config):
    """All inputs that determine the statistics; equal keys mean equal numbers."""

    fingerprint: str
    """Content hash of the data and of the choice of images."""
    split: str | None
    recipe: str
    count: int
    extractor: ExtractorCard
    with_features: bool
    with_labels: bool = False
    rounding: str | None = None
    """Device and batch size with which the features were computed. They determine the last bits of the features, and with these whether an
    image that is in both sets lies inside a ball. None: only moments are stored."""
    library_majors: dict[str, str]

    def digest(self) -> str:
        """Return the SHA-256 of the key."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


class StatisticsFile(Config):
    """``statistics.json``: the key, the hash of the tensors beside it, and the reference's card."""

    key: StatisticsKey
    tensors_sha256: str
    reference: ReferenceCard
    classes: tuple[str, ...] = ()
    geometry: ReferenceGeometry | None = None
    """None: not stored by earlier versions, or all images are alike."""


def library_majors() -> dict[str, str]:
    """Return the major versions of the libraries that compute features."""
    return {"torch": torch.__version__.split(".")[0], "numpy": np.__version__.split(".")[0]}


@dataclass(frozen=True)
class ReferenceStatistics:
    """Count, mean and covariance of the reals' features, optionally the features, and the card of the reference."""

    moments: Moments
    features: Float32[Tensor, "n d"] | None
    reference: ReferenceCard
    extractor: ExtractorCard
    stored_root: Float64[Tensor, "d d"] | None = None
    labels: Int64[Tensor, " n"] | None = None
    classes: tuple[str, ...] = ()
    """Names of the classes in the order of their labels."""
    stored_geometry: ReferenceGeometry | None = None
    radii: dict[int, Float64[Tensor, " n"]] = field(default_factory=dict, compare=False)
    """k -> squared radii of the balls around the features, as far as they were computed."""

    def squared_radii(self, k: int, device: torch.device) -> Float64[Tensor, " n"]:
        """Return the squared distance of each real image to its k-th neighbour, computed at the first call."""
        assert self.features is not None
        if k not in self.radii:
            self.radii[k] = squared_radii(self.features.to(device), k=k)
        return self.radii[k]

    @cached_property
    def root(self) -> Float64[Tensor, "d d"]:
        """The root of the covariance, stored or computed at the first call; not needed for fewer fakes than features."""
        return symmetric_root(self.moments.covariance) if self.stored_root is None else self.stored_root

    @cached_property
    def geometry(self) -> ReferenceGeometry | None:
        """The geometry of the set, stored or computed at the first call; None: all images are alike."""
        return reference_geometry(self.moments, self.features) if self.stored_geometry is None else self.stored_geometry


def statistics_folder(cache_dir: Path, key: StatisticsKey) -> Path:
    """Return the folder of the statistics of ``key``."""
    return cache_dir / key.digest()[:32]


def save_statistics(cache_dir: Path, key: StatisticsKey, statistics: ReferenceStatistics) -> Path:
    """Write the statistics atomically under their key, read-only, and return their folder.

    An existing folder is kept, also if another process has written it meanwhile: equal keys mean equal numbers.
    """
    folder = statistics_folder(cache_dir, key)
    if folder.exists():
        return folder
    cache_dir.mkdir(parents=True, exist_ok=True)
    tensors = {"mean": statistics.moments.mean, "covariance": statistics.moments.covariance, "root": statistics.root}
    if statistics.features is not None:
        tensors["features"] = statistics.features
    if statistics.labels is not None:
        tensors["labels"] = statistics.labels
    with contextlib.suppress(FileExistsError), new_folder(folder) as temporary:
        save_tensors({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, temporary / TENSORS)
        described = StatisticsFile(
            key=key,
            tensors_sha256=sha256_of(temporary / TENSORS),
            reference=statistics.reference,
            classes=statistics.classes,
            geometry=statistics.geometry,
        )
        (temporary / DESCRIPTION).write_text(described.model_dump_json(indent=2))
        for name in (TENSORS, DESCRIPTION):
            os.chmod(temporary / name, 0o444)
    return folder


def load_statistics(folder: Path) -> ReferenceStatistics:
    """Return the statistics in ``folder``.

    Raises:
        UserError: a file is missing, or was changed after it was written.

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
    return ReferenceStatistics(
        moments,
        held.get("features"),
        described.reference,
        described.key.extractor,
        stored_root=held["root"],
        labels=held.get("labels"),
        classes=described.classes,
        stored_geometry=described.geometry,
    )


def reference_statistics(
    images: StoredImages,
    extractor: Extractor,
    *,
    source: str,
    split: str | None,
    recipe: str,
    with_features: bool,
    cache_dir: Path | None,
    size: int | None = None,
    order: Order | None = None,
    labels: Int64[Tensor, " n"] | None = None,
    classes: tuple[str, ...] = (),
    processes: Processes = ALONE,
    batch_size: int | None = None,
) -> ReferenceStatistics:
    """Return the statistics of the reals, from the cache if they are stored there.

    Args:
        images: the reals; their ``fingerprint`` is part of the cache key.
        extractor: the network.
        source: their name on the card.
        split: their split.
        recipe: the conversion of the pictures to these pixels.
        with_features: keep all features, for KID, precision and recall (``evaluate.needs_real_features``).
        cache_dir: folder of the cache; None: no cache.
        size: side of the images, for the card.
        order: the rule that orders ``images``, for the card.
        labels: the class of each image, kept beside the features.
        classes: names of the classes.
        processes: the processes that share the work; the first one writes.
        batch_size: images per call of the extractor; None: ``usual_batch_size``.

    Raises:
        UserError: cached statistics were changed after they were written, or features are not finite.

    """
    rounding = f"{extractor.device.type}, batches of {batch_size or usual_batch_size(extractor.device)}"
    key = StatisticsKey(
        fingerprint=images.fingerprint,
        split=split,
        recipe=recipe,
        count=len(images),
        extractor=extractor_card(extractor),
        with_features=with_features,
        with_labels=with_features and labels is not None,
        rounding=rounding if with_features else None,
        library_majors=library_majors(),
    )
    stored = None if cache_dir is None else _stored(cache_dir, key, rounding, processes, extractor.device)
    if stored is not None:  # equal content may have been stored under another name or with an older card
        card = _reference_card(images, source, key, stored.reference.images_sha256, size, order)
        return dataclasses.replace(stored, reference=card)
    wanted = Wanted(extractor, len(images), features=with_features)
    extraction = extract(images, [wanted], processes=processes, batch_size=batch_size)[0]
    statistics = ReferenceStatistics(
        extraction.moments,
        None if extraction.features is None else extraction.features.cpu(),
        _reference_card(images, source, key, extraction.images_sha256, size, order),
        key.extractor,
        labels=labels if key.with_labels else None,
        classes=classes if key.with_labels else (),
    )
    if cache_dir is not None and processes.rank == 0:
        save_statistics(cache_dir, key, statistics)
    return statistics


def _reference_card(
    images: StoredImages, source: str, key: StatisticsKey, images_sha256: str, size: int | None, order: Order | None
) -> ReferenceCard:
    return ReferenceCard(
        source=source,
        fingerprint=key.fingerprint,
        split=key.split,
        recipe=key.recipe,
        images_sha256=images_sha256,
        size=size,
        formats=tuple(sorted(images.formats)),
        order=order,
    )


def _stored(cache_dir: Path, key: StatisticsKey, rounding: str, processes: Processes, device: torch.device) -> ReferenceStatistics | None:
    """Return the cached statistics of ``key``; for moments alone, statistics with features are returned too."""
    keys = [key]
    if not key.with_features:
        more = {"with_features": True, "rounding": rounding}
        keys += [key.model_copy(update={**more, "with_labels": labelled}) for labelled in (False, True)]
    for one in keys:
        if _all_see(statistics_folder(cache_dir, one), processes, device):
            return load_statistics(statistics_folder(cache_dir, one))
    return None


def _all_see(folder: Path, processes: Processes, device: torch.device) -> bool:
    """Whether ``folder`` exists on every process; all processes must take the same branch to avoid a deadlock."""
    return bool(processes.gather(torch.tensor([int(folder.is_dir())], device=device)).all().item())
