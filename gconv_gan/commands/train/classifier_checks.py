"""Checks of a classifier run before training; the run and its dry run both call ``check`` and refuse the same configs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch import nn

from gconv_gan.commands.train.classifier_data import Split, batches, require_same_classes, splits
from gconv_gan.commands.train.classifier_network import build_network, new_network
from gconv_gan.commands.train.listed_methods import checked, listed_methods
from gconv_gan.config.schema import constructor
from gconv_gan.config.sections.classifiers import ClassifierRunConfig
from gconv_gan.data.batches.class_batches import ClassBatches
from gconv_gan.data.batches.held_out import HeldOut
from gconv_gan.data.datasets import published_classes, require_full_batch
from gconv_gan.data.image_dataset import ImageDataset
from gconv_gan.methods.method import Method, PlayerName
from gconv_gan.runtime.run_folder import MAY_CHANGE, RunFolder
from gconv_gan.training.checkpoint import resumable

# paths of the test data, which do not affect training
TEST_DATA_MAY_CHANGE = tuple(f"test_{key}" for key in MAY_CHANGE if key.startswith("data."))


@dataclass(frozen=True)
class CheckedData:
    """The images of a checked run."""

    training: ClassBatches
    validation: HeldOut
    """The validation images; empty without a validation part."""
    test: HeldOut | None
    """None if they are not downloaded yet."""
    split: Split


@dataclass(frozen=True)
class CheckedClassifier:
    """The parts of a checked run. Nothing has been written to its folder."""

    folder: RunFolder
    may_change: tuple[str, ...]
    """Keys of the config that may differ from the config in the folder."""
    resumes_from: Path | None
    """The checkpoint from which it resumes."""
    network: nn.Module
    methods: tuple[Method, ...]
    description: dict[str, Any]
    """Description that rebuilds the network; empty, and the following fields None or empty, if the data are not downloaded yet."""
    data: CheckedData | None
    facts: dict[str, Any]
    """Contents of a checkpoint besides the weights."""


def check(
    config: ClassifierRunConfig, accelerator: Accelerator, dataset: ImageDataset | None, test: ImageDataset | None
) -> CheckedClassifier:
    """Build everything that ``config`` names, check that it can be trained, and return it.

    Args:
        config: the run.
        accelerator: device and processes of the run.
        dataset: its training images; None if they are not downloaded yet: checks that depend on them are then skipped.
        test: its test images, likewise.

    Raises:
        UserError: the run would be refused.

    """
    folder, may_change = RunFolder(Path(config.runs_dir) / config.name), (*MAY_CHANGE, *TEST_DATA_MAY_CHANGE)
    if accelerator.is_main_process:
        folder.require_startable(config, may_change=may_change)
    optimizers: dict[PlayerName, Any] = {"classifier": constructor(config.optimizer, "optimizer")}
    total_images = config.trainer.total_images
    if dataset is None:
        network, _ = new_network(config, published_classes(config.data))
        resumes_from = resumable(folder.path, {}, lambda _: None)
        methods = checked(listed_methods(config.methods), {"classifier": network}, optimizers, resumes_from, total_images=total_images)
        return CheckedClassifier(folder, may_change, resumes_from, network, methods, {}, None, {})
    require_same_classes(dataset, test)
    split = splits(config, dataset)
    parts = accelerator.num_processes * config.trainer.micro_batches
    require_full_batch(dataset, len(split.training), batch_size=config.trainer.batch_size, parts=parts)
    built = build_network(config, dataset, split.training)
    facts = {
        "data": dataset.content_hash,
        "data_title": dataset.title,
        "test_data": None if test is None else test.content_hash,
        "classes": list(dataset.classes),
        "image_size": config.image_size,
        "num_processes": accelerator.num_processes,
        "mixed_precision": accelerator.mixed_precision,
    }
    resumes_from = resumable(folder.path, facts, lambda _: None)  # the run itself reports damaged ones
    return CheckedClassifier(
        folder=folder,
        may_change=may_change,
        resumes_from=resumes_from,
        network=built.network,
        methods=checked(listed_methods(config.methods), {"classifier": built.network}, optimizers, resumes_from, total_images=total_images),
        description=built.description,
        data=CheckedData(
            batches(config, dataset, split.training, accelerator),
            HeldOut(dataset, config.image_size, split.validation),
            None if test is None else HeldOut(test, config.image_size),
            split,
        ),
        facts=facts,
    )
