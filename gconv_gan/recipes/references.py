"""Real images as a reference, and the processes that share the work of scoring."""

import json
from dataclasses import dataclass
from pathlib import Path

from accelerate import PartialState
from accelerate.utils import gather

from gconv_gan.config.data import DATA_CONFIGS, DataConfig
from gconv_gan.config.errors import UserError
from gconv_gan.config.load import validated
from gconv_gan.data.image_dataset import ImageDataset
from gconv_gan.metrics.evaluate import Processes, needs_features, reference_statistics
from gconv_gan.metrics.extractors import Extractor
from gconv_gan.metrics.protocols import Protocol
from gconv_gan.metrics.reference_statistics import ReferenceStatistics
from gconv_gan.metrics.sources import ArrayImages, ChosenImages, StoredImages

STATISTICS = "reference_statistics"  # folder of cached statistics below cache_dir


@dataclass(frozen=True)
class Reals:
    """Real images and what a score card says about them."""

    images: StoredImages
    source: str
    split: str | None
    recipe: str


def dataset_reals(dataset: ImageDataset) -> Reals:
    """Return a converted data set as reference images."""
    manifest = dataset.manifest
    return Reals(ArrayImages(dataset.images, fingerprint=manifest.content_hash), manifest.title, manifest.split, manifest.recipe)


def named_data(reference: str, *, size: int | None, changes: dict[str, object], like: DataConfig | None = None) -> DataConfig | None:
    """Return the config of the data set that ``reference`` names, "cifar10" or "celeba:PATH"; None where it names none.

    Args:
        reference: a ``data.kind`` other than folder, and perhaps where the data lie.
        size: side of the images to be compared; None: the kind's usual one.
        changes: further keys, such as split.
        like: the data of the scored run, whose settings hold where the kind is the same.

    Raises:
        UserError: the kind has no such size or split.

    """
    kind, _, path = reference.partition(":")
    if kind == "folder" or kind not in DATA_CONFIGS:
        return None
    values: dict[str, object] = json.loads(like.model_dump_json()) if like is not None and like.kind == kind else {}
    values |= changes | ({"path": path} if path else {}) | ({"size": size} if size is not None else {})
    config: DataConfig = validated(DATA_CONFIGS[kind], values, "--reference")
    return config


def processes() -> Processes:
    """Return this process's part under Accelerate's launcher, or the only one."""
    state = PartialState()
    return Processes(state.process_index, state.num_processes, gather if state.num_processes > 1 else lambda tensor: tensor)


def reference_of(
    reals: Reals, chosen: Protocol, network: Extractor, *, seed: int, cache_dir: Path, batch_size: int = 64
) -> ReferenceStatistics:
    """Return the statistics of ``reals`` that the protocol ``chosen`` asks for, from the cache where they are in it.

    Raises:
        UserError: the protocol asks for another split, or for more images than there are.

    """
    if chosen.split != "any" and reals.split not in (chosen.split, None):
        raise UserError(
            f"protocol {chosen.name} compares with the {chosen.split} split, not {reals.split}: give --reference-split {chosen.split}"
        )
    images = reals.images
    if chosen.num_real is not None and chosen.num_real != len(images):
        images = ChosenImages(images, chosen.num_real, seed=seed)
    return reference_statistics(
        images,
        network,
        source=reals.source,
        split=reals.split,
        recipe=reals.recipe,
        with_features=needs_features(chosen),
        cache_dir=cache_dir / STATISTICS,
        processes=processes(),
        batch_size=batch_size,
    )
