"""What a classifier run would do, without doing it: the resolved config, the network, steps, work, disk."""

import json

import torch

from gconv_gan.config.classifiers import ClassifierRunConfig
from gconv_gan.data.cache import open_dataset
from gconv_gan.models.summary import summarise, table
from gconv_gan.recipes.classifier_data import require_same_classes, splits
from gconv_gan.recipes.classifier_network import build_network


def plan(config: ClassifierRunConfig) -> str:
    """Return the resolved config, the network layer by layer, and how much work and disk the run takes.

    Raises:
        UserError: the data are absent or not fit for a classifier, or the network cannot be built.

    """
    dataset, test = (open_dataset(data) for data in (config.data, config.test_data))
    require_same_classes(dataset, test)
    split = splits(config, dataset)
    network = build_network(config, dataset, split.training).network
    rows = summarise(network, torch.zeros(1, 3, config.image_size, config.image_size))
    macs = sum(row.macs for row in rows)
    trainer, images = config.trainer, len(split.training)
    steps = -(-trainer.total_images // trainer.batch_size)
    weights = sum(4 * tensor.numel() for tensor in network.state_dict().values())
    # weights, moments (SGD one, Adam two), average
    copies = 2 + (config.optimizer.kind != "sgd") + (config.average.half_life_images > 0)
    return "\n".join(
        [
            json.dumps(config.model_dump(mode="json"), indent=2),
            "",
            table(rows),
            "",
            f"data: {images:,} training, {len(split.validation):,} validation, {len(test):,} test images; {len(dataset.classes)} classes",
            f"input: {config.image_size}×{config.image_size} of {config.data.size}×{config.data.size}",
            f"images: {trainer.total_images:,} = {trainer.total_images / images:.1f} epochs = {steps:,} steps of {trainer.batch_size}",
            f"work: {3 * macs * trainer.total_images:.3g} MACs, forward and backward",
            f"disk: {copies * weights / 2**20:.1f} MiB per checkpoint, at most {trainer.keep_checkpoints + 1} kept",
        ]
    )
