"""A trained run as the task that it was: players, training data and losses at one of its checkpoints, to be measured."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch import nn

from gconv_gan.commands.score.checkpoint_choice import choose_checkpoint
from gconv_gan.commands.train.accelerator import build_accelerator
from gconv_gan.commands.train.classifier_data import batches, splits
from gconv_gan.commands.train.classifier_network import build_network
from gconv_gan.commands.train.gan_checks import generator_images, real_images
from gconv_gan.commands.train.networks import build_networks
from gconv_gan.commands.train.objective import build_objective
from gconv_gan.config.commands import CheckpointChoice
from gconv_gan.config.errors import UserError, reworded
from gconv_gan.config.hints import does_not_exist
from gconv_gan.config.load import load_config, validated
from gconv_gan.config.sections.classifiers import AugmentationConfig, ClassifierRunConfig
from gconv_gan.config.sections.data import as_flags
from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.data.cache import open_dataset
from gconv_gan.data.image_dataset import ImageDataset
from gconv_gan.layers.forms import choose_forms
from gconv_gan.methods.method import PlayerName
from gconv_gan.models.changes import rebuild
from gconv_gan.training.adversarial import Adversarial
from gconv_gan.training.checkpoint import STATE, load_checkpoint
from gconv_gan.training.supervised import Supervised
from gconv_gan.training.task import Task


@dataclass(frozen=True)
class TrainedTask:
    """A run at one checkpoint."""

    config: GANRunConfig | ClassifierRunConfig
    checkpoint: Path
    task: Task
    images: int | None
    """Number of different training images; None: without end, since latents or augmentation are drawn anew for every batch."""


def trained_task(
    folder: Path, *, checkpoint: CheckpointChoice | None = None, data_path: str | None = None, cache_dir: str | None = None
) -> TrainedTask:
    """Return the task of a run of either sort, its networks (not the averages) and optimisers as at the checkpoint.

    Args:
        folder: of the run.
        checkpoint: see ``choose_checkpoint``.
        data_path: of the training data; None: that of the run's config.
        cache_dir: likewise.

    Raises:
        UserError: there is no run or checkpoint, or the data are absent or other ones.

    """
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} is not a run folder: it has no config.json" if folder.exists() else does_not_exist(folder))
    model: type[GANRunConfig | ClassifierRunConfig]
    model = GANRunConfig if "discriminator" in json.loads((folder / "config.json").read_text()) else ClassifierRunConfig
    config = load_config(model, folder / "config.json")
    places = {name: value for name, value in {"path": data_path, "cache_dir": cache_dir}.items() if value is not None}
    whole: dict[str, Any] = json.loads(config.model_dump_json())
    chosen = choose_checkpoint(folder, checkpoint).path
    state = json.loads((chosen / STATE).read_text())
    with reworded(partial(as_flags, {"path": "--data-path", "cache_dir": "--cache-dir"}, config.data.kind)):
        config = validated(model, {**whole, "data": {**whole["data"], **places}}, "command line")
        dataset = open_dataset(config.data)
    if dataset.content_hash != state["data"]:
        raise UserError(f"{chosen} was trained on other data than {dataset.title}: name its own with --data-path")
    accelerator = build_accelerator(config)
    if isinstance(config, GANRunConfig):
        task: Task = _adversarial(config, dataset, state, chosen, accelerator)
        images = None
    else:
        task, count = _supervised(config, dataset, state, chosen, accelerator)
        images = None if config.data.flip or config.augmentation != AugmentationConfig(crop_size=config.augmentation.crop_size) else count
    load_checkpoint(chosen, task.state)
    return TrainedTask(config, chosen, task, images)


def _adversarial(
    config: GANRunConfig, dataset: ImageDataset, state: Mapping[str, Any], checkpoint: Path, accelerator: Accelerator
) -> Adversarial:
    num_classes = len(state["classes"] or ()) or None
    generator, discriminator = build_networks(config, num_classes)
    _repeat_changes({"generator": generator, "discriminator": discriminator}, state, checkpoint)
    objective = build_objective(config, discriminator, num_classes)
    return Adversarial(
        config,
        generator,
        discriminator,
        objective,
        data=real_images(config, dataset, accelerator, seed=config.seed),
        generator_data=generator_images(config, dataset, accelerator, objective),
        num_classes=num_classes,
        layouts=state.get("layouts", {}),
        device=accelerator.device,
    )


def _supervised(
    config: ClassifierRunConfig, dataset: ImageDataset, state: Mapping[str, Any], checkpoint: Path, accelerator: Accelerator
) -> tuple[Supervised, int]:
    training = splits(config, dataset).training
    network = build_network(config, dataset, training).network
    _repeat_changes({"classifier": network}, state, checkpoint)
    data = batches(config, dataset, training, accelerator)
    layout = state.get("layouts", {}).get("classifier", "channels_last")
    return Supervised(config, network, data=data, layout=layout, device=accelerator.device), len(training)


def _repeat_changes(networks: Mapping[PlayerName, nn.Module], state: Mapping[str, Any], checkpoint: Path) -> None:
    for name, network in networks.items():
        rebuild(name, network, state.get("methods", []), source=checkpoint / STATE)
        choose_forms(network, state.get("forms", {}).get(name, {}))
