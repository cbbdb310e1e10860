"""Real images as the reference of a score, and the processes that share the computation."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import get_args

import torch
from accelerate.utils import gather
from jaxtyping import Int64
from torch import Tensor

from gconv_gan.commands.score.progress import Progress
from gconv_gan.config.errors import UserError, reworded
from gconv_gan.config.load import validated
from gconv_gan.config.sections.data import DataConfig, FolderDataConfig, as_flags
from gconv_gan.data.cache import open_dataset
from gconv_gan.data.class_names import listed
from gconv_gan.data.datasets import DATASETS
from gconv_gan.data.image_dataset import ImageDataset
from gconv_gan.data.reading.archives import printable
from gconv_gan.metrics.evaluate import needs_real_features
from gconv_gan.metrics.extractors.inception import Extractor
from gconv_gan.metrics.images.content_order import BY_CONTENT, ContentOrder
from gconv_gan.metrics.images.extraction import Processes
from gconv_gan.metrics.images.sources import ArrayImages, ChosenImages, ImageFiles, StoredImages
from gconv_gan.metrics.intra_class import class_sizes
from gconv_gan.metrics.protocols import Protocol
from gconv_gan.metrics.references.interchange import SUFFIXES
from gconv_gan.metrics.references.reference_statistics import ReferenceStatistics, load_statistics, reference_statistics
from gconv_gan.metrics.score_card import Order
from gconv_gan.runtime.device import process_state

log = logging.getLogger(__name__)

STATISTICS = "reference_statistics"  # folder of cached statistics below cache_dir
SCORE_FLAGS = {"path": "--reference", "split": "--reference-split", "cache_dir": "--cache-dir"}  # key of [data] -> flag of gan_metrics
FINGERPRINTS = "fingerprints"  # folder below cache_dir with the stored hashes of unchanged files
OWN_FILES = ("folder", "webdataset")  # kinds of data whose file names are chosen by the user
HELD_OUT = ("val", "test", "valid")  # names of the test split in data sets; if "val" and "test" both exist, the test images are unlabelled


@dataclass(frozen=True)
class Reals:
    """Real images with their part of a score card."""

    images: StoredImages
    source: str
    split: str | None
    recipe: str
    size: int
    """Side in pixels."""
    labels: Int64[Tensor, " n"] | None = None
    classes: tuple[str, ...] = ()

    @property
    def order(self) -> Order | None:
        """The rule that orders the images; None: the data set's own order."""
        return BY_CONTENT if isinstance(self.images, ContentOrder) else None


def dataset_reals(dataset: ImageDataset, *, cache_dir: Path) -> Reals:
    """Return a converted data set as reference images: a published one in its own order, the user's files ordered by their pixels."""
    manifest = dataset.manifest
    labels = None if dataset.labels is None else torch.from_numpy(dataset.labels)
    images: StoredImages = ArrayImages(dataset.images, fingerprint=manifest.content_hash, formats=manifest.formats)
    if manifest.kind in OWN_FILES:
        images = ContentOrder(images, memory=cache_dir / FINGERPRINTS)
        labels = None if labels is None else labels[images.order]
    return Reals(images, manifest.title, manifest.split, manifest.recipe, manifest.size, labels, dataset.classes)


def open_files(path: Path, *, size: int | None, cache_dir: Path, split: str | None = None) -> ContentOrder[ImageFiles]:
    """Return the pictures in a folder, zip or tar, ordered by their pixels; print once which files are skipped.

    Raises:
        UserError: as ``ImageFiles`` does.

    """
    memory = cache_dir / FINGERPRINTS
    files = ImageFiles(path, size=size, split=split, memory=memory)
    if files.left_out and process_state().is_main_process:
        log.warning("%s: %s", printable(str(path)), files.left_out)
    return ContentOrder(files, memory=memory)


def open_reference(
    reference: str | None,
    *,
    split: str | None,
    trained_on: DataConfig | None,
    size: int | None,
    files_size: int | None,
    cache_dir: Path,
    flags: Mapping[str, str] = SCORE_FLAGS,
) -> ReferenceStatistics | Reals | Path:
    """Return the reference that the command line names: statistics from the cache, or real images, which are not read yet.

    A statistics file of another tool is returned as its path, since its content depends on the extractor.

    Args:
        reference: a data set's name, images in a folder, zip or tar, or statistics; None: the run's training data.
        split: which split, a top-level sub-folder of pictures in files; None: the data set's usual one, or the whole.
        trained_on: the data of the scored run; None for files.
        size: side of the scored images, to which a data set is resized; None: its usual one.
        files_size: side to which pictures in files are resized if there is no run; None: their stored size.
        cache_dir: where converted data and hashes are kept.
        flags: key of [data] -> the command's flag for it, for messages.

    Raises:
        UserError: the reference is absent or not given.

    """
    changes: dict[str, object] = {"cache_dir": str(cache_dir)}
    if split is not None:
        changes["split"] = split
    if reference is None:
        if trained_on is None:
            raise UserError("--reference is needed: a data set, images in a folder, zip or tar, or cached statistics")
        return _opened(_changed(trained_on, changes), {key: flag for key, flag in flags.items() if key != "path"})
    if (Path(reference) / "statistics.json").is_file():
        return load_statistics(Path(reference))
    if reference.endswith(SUFFIXES) and Path(reference).is_file():
        return Path(reference)
    named = named_data(reference, size=size, changes=changes, like=trained_on)
    if named is not None:
        return _opened(named, flags)
    if trained_on is not None:
        return _opened(validated(FolderDataConfig, changes | {"path": reference, "size": size}, "--reference"), flags)
    if not Path(reference).exists():
        known = ", ".join(kind for kind in DATASETS if kind != "folder")
        named_by = "" if flags["path"] == reference else f"{flags['path']} "
        raise UserError(f"{named_by}{reference} is neither a folder, zip or tar nor a data set; known are {known}")
    files = open_files(Path(reference), size=files_size, split=split, cache_dir=cache_dir)
    return Reals(files, printable(reference), split, files.source.recipe, files.size)


def _opened(config: DataConfig, flags: Mapping[str, str]) -> Reals:
    """Return a data set as reference; error messages name the flags of the command."""
    with reworded(partial(as_flags, flags, config.kind)):
        dataset = open_dataset(config, progress=process_state().is_main_process)
        return dataset_reals(dataset, cache_dir=Path(config.cache_dir))


def _changed(config: DataConfig, changes: dict[str, object]) -> DataConfig:
    return validated(type(config), {**json.loads(config.model_dump_json()), **changes}, "--reference-split")


def named_data(reference: str, *, size: int | None, changes: dict[str, object], like: DataConfig | None = None) -> DataConfig | None:
    """Return the config of the data set that ``reference`` names, "cifar10" or "celeba:PATH"; None where it names none.

    Args:
        reference: a ``data.kind`` other than folder, optionally with ":" and the path of the data.
        size: side of the images to be compared; None: the kind's usual one.
        changes: further keys, such as split.
        like: the data of the scored run, whose settings are taken over if the kind is the same.

    Raises:
        UserError: the kind has no such size or split.

    """
    kind, _, path = reference.partition(":")
    if kind == "folder" or kind not in DATASETS:
        return None
    values: dict[str, object] = json.loads(like.model_dump_json()) if like is not None and like.kind == kind else {}
    values |= changes | ({"path": path} if path else {}) | ({"size": size} if size is not None else {})
    config = validated(DATASETS.models()[kind], values, "--reference")
    assert isinstance(config, DataConfig)
    return config


def usual_split(protocol: Protocol, kind: str) -> str | None:
    """Return the name of the protocol's split in the data sets of ``kind``; None if they have no splits."""
    if "split" not in DATASETS.models()[kind].model_fields:
        return None
    admitted = get_args(DATASETS.models()[kind].model_fields["split"].annotation)
    held_out = next((name for name in HELD_OUT if name in admitted), "test")
    return held_out if protocol.split == "test" else protocol.split


def processes() -> Processes:
    """Return index and number of the launched processes, with their ``gather``."""
    state = process_state()
    return Processes(state.process_index, state.num_processes, gather if state.num_processes > 1 else lambda tensor: tensor)


def require_split(protocol: Protocol, split: str | None) -> None:
    """Raise ``UserError`` if a reference is known to be of another split than the protocol's; a validation split counts as a test split."""
    named = (None, *HELD_OUT) if protocol.split == "test" else (None, protocol.split)
    if protocol.split != "any" and split not in named:
        raise UserError(
            f"protocol {protocol.name} compares with the {protocol.split} split, not {split}: give --reference-split {protocol.split}"
        )


def require_every_class(reals: Reals) -> None:
    """Raise ``UserError`` if labelled reals lack classes, since labels of the scored generator are drawn uniformly over the classes."""
    if reals.labels is None:
        return
    empty = [name for name, count in zip(reals.classes, class_sizes(reals.labels, len(reals.classes)), strict=True) if count == 0]
    if empty:
        raise UserError(
            f"the reference {reals.source} has no image of the class{'es' if len(empty) > 1 else ''} {listed(empty)}, but labels of the "
            "generator are drawn uniformly: use a reference with images of every class, or --labels empirical if the training data "
            "have none of them either"
        )


def chosen_reals(reals: Reals, protocol: Protocol, *, seed: int, count_key: str = "--num-real") -> Reals:
    """Return the subset of ``reals`` that ``protocol`` selects, without reading the images.

    Args:
        reals: the images.
        protocol: gives the split and the number of images.
        seed: of the choice, if there are more images than the protocol takes.
        count_key: the flag or config key that changes how many there are, for messages.

    Raises:
        UserError: the protocol names another split or more images than there are, or there is a single image.

    """
    require_split(protocol, reals.split)
    if len(reals.images) < 2:
        raise UserError(f"the reference {reals.source} holds a single image: a score needs at least two")
    if protocol.num_real is None or protocol.num_real == len(reals.images):
        return reals
    images = ChosenImages(reals.images, protocol.num_real, seed=seed, key=count_key)
    return replace(reals, images=images, labels=None if reals.labels is None else reals.labels[images.indices])


def reference_of(
    reals: Reals,
    protocol: Protocol,
    network: Extractor,
    *,
    seed: int,
    cache_dir: Path,
    with_features: bool | None = None,
    batch_size: int | None = None,
    count_key: str = "--num-real",
) -> ReferenceStatistics:
    """Return the statistics of ``reals`` that ``protocol`` needs, from the cache if they are stored there.

    Args:
        reals: the images.
        protocol: gives the split and the number of images.
        network: the extractor.
        seed: of the choice, if there are more images than the protocol takes.
        cache_dir: folder of stored statistics.
        with_features: keep all features; None: as the protocol needs.
        batch_size: images per call of the extractor; None: as is fastest.
        count_key: the flag or config key that changes how many there are, for messages.

    Raises:
        UserError: the protocol names another split or more images than there are, or there is a single image.

    """
    chosen = chosen_reals(reals, protocol, seed=seed, count_key=count_key)
    return reference_statistics(
        chosen.images,
        network,
        source=reals.source,
        split=reals.split,
        recipe=reals.recipe,
        with_features=needs_real_features(protocol) if with_features is None else with_features,
        cache_dir=cache_dir / STATISTICS,
        size=reals.size,
        order=reals.order,
        labels=chosen.labels,
        classes=reals.classes,
        processes=replace(processes(), seen=Progress("reference")),
        batch_size=batch_size,
    )
