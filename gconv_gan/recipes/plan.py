"""What a run would do, before it does it: config, networks layer by layer, images, steps, checkpoints, disk."""

import json

import torch

from gconv_gan.config.classifiers import ClassifierTrainerConfig
from gconv_gan.config.runs import GANRunConfig, TrainerConfig
from gconv_gan.data.cache import open_without_fetching
from gconv_gan.data.datasets import not_there_yet, published_classes
from gconv_gan.data.image_dataset import ImageDataset
from gconv_gan.models.summary import summarise, table
from gconv_gan.recipes.networks import build_networks, narrow_maps
from gconv_gan.recipes.objective import build_objective
from gconv_gan.training.state import due


def plan(config: GANRunConfig) -> str:
    """Return the resolved config, both networks and the plan as text; opens the data where they are, trains nothing, fetches nothing."""
    dataset = open_without_fetching(config.data)
    num_classes = _num_classes(config, dataset)
    generator, discriminator = build_networks(config, num_classes)
    build_objective(config, discriminator, num_classes)  # refuses what could not be trained
    y = None if num_classes is None else torch.zeros(1, dtype=torch.long)
    g_rows = summarise(generator, torch.zeros(1, config.generator.latent_dim), y)
    d_rows = summarise(discriminator, torch.zeros(1, 3, config.data.size, config.data.size), y)
    weights = sum(t.numel() * t.element_size() for net in (generator, discriminator) for t in net.state_dict().values())
    averaged = sum(t.numel() * t.element_size() for t in generator.state_dict().values())
    checkpoint = 3 * weights + averaged  # weights, two Adam moments, the average
    return "\n".join(
        [
            json.dumps(config.model_dump(mode="json"), indent=2),
            "",
            "generator",
            table(g_rows),
            "",
            "discriminator",
            table(d_rows),
            "",
            f"data: {_described(dataset)}" if dataset is not None else f"data: {not_there_yet(config.data)}",
            *_work(config.trainer, sum(row.macs for row in g_rows), sum(row.macs for row in d_rows), dataset),
            *_disk(config.trainer, checkpoint),
            *(f"warning: {sentence}" for sentence in narrow_maps(config, generator, discriminator)),
        ]
    )


def _num_classes(config: GANRunConfig, dataset: ImageDataset | None) -> int | None:
    if not config.conditional:
        return None
    return published_classes(config.data) if dataset is None else dataset.num_classes


def _described(dataset: ImageDataset) -> str:
    size = dataset.manifest.size
    return f"{len(dataset):,} images of {size}×{size}, {dataset.num_classes or 'no'} classes"


def rounded_up(shown: int, trainer: TrainerConfig | ClassifierTrainerConfig) -> str:
    """Say that a run shows ``shown`` images where that is more than ``trainer.total_images``, which ends within an iteration."""
    return "" if shown == trainer.total_images else f" (trainer.total_images = {trainer.total_images:,}, rounded up to a whole iteration)"


def _work(trainer: TrainerConfig, f_g: int, f_d: int, dataset: ImageDataset | None) -> list[str]:
    """Return what is trained: images, steps, multiply-accumulates of networks that take ``f_g`` and ``f_d`` of them an image."""
    iterations = -(-trainer.total_images // trainer.images_per_iteration)
    shown = iterations * trainer.images_per_iteration
    epochs = "" if dataset is None else f" = {shown / len(dataset):.1f} epochs"
    # G forward without a graph and D forward and backward on real and fake; then G and, to its input only, D
    macs = trainer.images_per_iteration * (f_g + 6 * f_d) + trainer.batch_size * (3 * f_g + 2 * f_d)
    return [
        f"images: {shown:,} shown to the discriminator{epochs}{rounded_up(shown, trainer)}",
        f"steps: {iterations:,} generator steps, {iterations * trainer.n_dis:,} discriminator steps, batch {trainer.batch_size}",
        f"work: {macs:,} MACs per iteration, {macs * iterations:.3g} in all",
    ]


def _disk(trainer: TrainerConfig, checkpoint: int) -> list[str]:
    """Return how many checkpoints are written and what they take, at ``checkpoint`` bytes each."""
    step, every = trainer.images_per_iteration, trainer.checkpoint_every
    ends = range(step, trainer.total_images + step, step)
    written = sum(due(images - step, images, every) or images == ends[-1] for images in ends)
    kept = min(written, trainer.keep_checkpoints)
    return [
        f"checkpoints: {written} written, {kept} kept",
        f"disk: {checkpoint / 2**20:.1f} MiB per checkpoint, {checkpoint * kept / 2**20:.1f} MiB kept",
    ]
