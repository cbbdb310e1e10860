"""What a classifier run would do, without doing it: the resolved config, the network, steps, work, disk."""

import json
from functools import partial

import torch
from torch import nn

from gconv_gan.config.classifiers import ClassifierRunConfig
from gconv_gan.config.data import in_section
from gconv_gan.config.errors import reworded
from gconv_gan.data.cache import open_without_fetching
from gconv_gan.data.datasets import not_there_yet, published_classes
from gconv_gan.models.factory import build_classifier_network
from gconv_gan.models.summary import summarise, table
from gconv_gan.recipes.classifier_data import require_same_classes, splits
from gconv_gan.recipes.classifier_network import build_network
from gconv_gan.recipes.plan import rounded_up


def plan(config: ClassifierRunConfig) -> str:
    """Return the resolved config, the network layer by layer, and how much work and disk the run takes; fetches nothing.

    Raises:
        UserError: the data are absent or not fit for a classifier, or the network cannot be built.

    """
    dataset = open_without_fetching(config.data)
    with reworded(partial(in_section, "test_data")):
        test = open_without_fetching(config.test_data)
    if dataset is None or test is None:
        network = build_classifier_network(config.network, num_classes=published_classes(config.data), image_size=config.image_size)
        absent = f"data: {not_there_yet(config.data)}" if dataset is None else f"test_data: {not_there_yet(config.test_data, 'test_data')}"
        return _text(config, network, absent, None)
    require_same_classes(dataset, test)
    split = splits(config, dataset)
    images = len(split.training)
    counts = f"{images:,} training, {len(split.validation):,} validation, {len(test):,} test images; {len(dataset.classes)} classes"
    return _text(config, build_network(config, dataset, split.training).network, f"data: {counts}", images)


def _text(config: ClassifierRunConfig, network: nn.Module, data: str, images: int | None) -> str:
    """Return the plan of training ``network`` on ``images`` images; None: how many there are is not known."""
    rows = summarise(network, torch.zeros(1, 3, config.image_size, config.image_size))
    macs = sum(row.macs for row in rows)
    trainer = config.trainer
    steps = -(-trainer.total_images // trainer.batch_size)
    shown = steps * trainer.batch_size
    epochs = "" if images is None else f" = {shown / images:.1f} epochs"
    weights = sum(4 * tensor.numel() for tensor in network.state_dict().values())
    # weights, moments (SGD one, Adam two), average
    copies = 2 + (config.optimizer.kind != "sgd") + (config.average.half_life_images > 0)
    return "\n".join(
        [
            json.dumps(config.model_dump(mode="json"), indent=2),
            "",
            table(rows),
            "",
            data,
            f"input: {config.image_size}×{config.image_size} of {config.data.size}×{config.data.size}",
            f"images: {shown:,}{epochs} = {steps:,} steps of {trainer.batch_size}{rounded_up(shown, trainer)}",
            f"work: {3 * macs * shown:.3g} MACs, forward and backward",
            f"disk: {copies * weights / 2**20:.1f} MiB per checkpoint, at most {trainer.keep_checkpoints + 1} kept",
        ]
    )
