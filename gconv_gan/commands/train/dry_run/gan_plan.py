"""The dry run of a GAN: config, networks layer by layer, images, steps, time, checkpoints, disk."""

import json
from pathlib import Path

import torch

from gconv_gan.commands.train.accelerator import build_accelerator
from gconv_gan.commands.train.dry_run.step_time import gan_step_time
from gconv_gan.commands.train.gan_checks import check
from gconv_gan.config.schema import constructor
from gconv_gan.config.sections.classifiers import ClassifierTrainerConfig
from gconv_gan.config.sections.runs import GANRunConfig, TrainerConfig
from gconv_gan.data.batches.subset import without_held_out
from gconv_gan.data.cache import open_without_fetching
from gconv_gan.data.datasets import not_there_yet
from gconv_gan.data.image_dataset import ImageDataset
from gconv_gan.models.summary import summarise, table
from gconv_gan.optim.optimizers import state_per_weight
from gconv_gan.training.checkpoint import images_at
from gconv_gan.training.state import due


def plan(config: GANRunConfig) -> str:
    """Return the resolved config, both networks and the plan as text; open the data if they are present, download and train nothing.

    Raises:
        UserError: the run would be refused, as far as this can be checked without data that are not downloaded yet.

    """
    accelerator = build_accelerator(config)
    dataset = open_without_fetching(config.data)
    parts = check(config, accelerator, dataset)
    generator, discriminator = parts.generator, parts.discriminator
    y = None if parts.num_classes is None else torch.zeros(1, dtype=torch.long)
    g_rows = summarise(generator, torch.zeros(1, config.generator.latent_dim), y)
    d_rows = summarise(discriminator, torch.zeros(1, 3, config.data.size, config.data.size), y)
    checkpoint = sum(
        sum(t.numel() * t.element_size() for t in network.state_dict().values()) * copies
        for network, copies in (
            (generator, 2 + state_per_weight(constructor(config.generator_optimizer))),  # weights and their average
            (discriminator, 1 + state_per_weight(constructor(config.discriminator_optimizer))),
        )
    )
    f_g, f_d = (sum(row.macs for row in rows) for rows in (g_rows, d_rows))
    macs = iteration_macs(config.trainer, f_g, f_d)
    taken = gan_step_time(config, parts, accelerator, macs=macs, generator_macs=f_g)
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
            *(_described(config, dataset) if dataset is not None else [f"data: {not_there_yet(config.data)}"]),
            *goes_on(parts.resumes_from, config.start_from, parts.forks),
            *_work(config, macs, dataset),
            taken.text(
                iterations_left(config.trainer.total_images, config.trainer.images_per_iteration, parts.resumes_from or parts.forks),
                share=config.trainer.batch_size // accelerator.num_processes,
                device=accelerator.device,
            ),
            taken.log_text(config.trainer.log_every, images=config.trainer.images_per_iteration, total_images=config.trainer.total_images),
            *taken.memory_text(accelerator.device),
            *_disk(config.trainer, checkpoint),
            *(f"warning: {sentence}" for sentence in parts.warnings),
        ]
    )


def iteration_macs(trainer: TrainerConfig, generator: int, discriminator: int) -> int:
    """Return the multiply-adds of an iteration, penalties left out, from those of the networks' forward passes per image."""
    # G forward without a graph and D forward and backward on real and fake; then G and, to its input only, D
    d_step, g_step = generator + 6 * discriminator, 3 * generator + 2 * discriminator
    return trainer.images_per_iteration * d_step + trainer.batch_size * g_step


def goes_on(newest: Path | None, start_from: str | None, forks: Path | None = None) -> list[str]:
    """Return a line that names the checkpoint from which a run resumes or goes on, or the folder of its initial weights; else none."""
    if newest is not None:
        return [f"start: resumes from {newest}"]
    if forks is not None:
        return [f"start: goes on from {forks}, with this config"]
    return [] if start_from is None else [f"start: with the weights in {start_from}"]


def iterations_left(total_images: int, step: int, newest: Path | None) -> int:
    """Return the number of remaining iterations of ``step`` images after the run's newest checkpoint."""
    seen = 0 if newest is None else images_at(newest)
    return max(0, -(-(total_images - seen) // step))


def _described(config: GANRunConfig, dataset: ImageDataset) -> list[str]:
    """Return what the data are, and which files are left out."""
    manifest, count = dataset.manifest, dataset.num_classes
    classes = f"{count or 'no'} class{'' if count == 1 else 'es'}"
    return [
        f"data: {len(dataset):,} images of {manifest.size}×{manifest.size}, {classes}",
        *left_out(dataset, "data"),
        *held_out(config, dataset),
    ]


def held_out(config: GANRunConfig, dataset: ImageDataset) -> list[str]:
    """Return a line on the images that are not trained on, or none."""
    if not config.trainer.held_out:
        return []
    training, others = without_held_out(dataset, share=config.trainer.held_out, seed=config.seed)
    return [f"data: {len(others):,} of the images are held out of training (trainer.held_out), {len(training):,} are trained on"]


def left_out(dataset: ImageDataset, section: str) -> list[str]:
    """Return which files of the data of a section are left out, as lines."""
    manifest = dataset.manifest
    lines = [f"{section}: {manifest.left_out}"] if manifest.left_out else []
    if manifest.skipped:
        named = ", ".join(f"{image.name} ({image.reason})" for image in manifest.skipped[:3])
        more = f" and {len(manifest.skipped) - 3} more" if len(manifest.skipped) > 3 else ""
        lines.append(
            f"{section}: left out {len(manifest.skipped)} that cannot be used: {named}{more}, see {dataset.folder / 'manifest.json'}"
        )
    return lines


def rounded_up(shown: int, trainer: TrainerConfig | ClassifierTrainerConfig) -> str:
    """Return a note if a run shows more images than ``trainer.total_images``, rounded up to whole iterations; else the empty string."""
    return "" if shown == trainer.total_images else f" (trainer.total_images = {trainer.total_images:,}, rounded up to a whole iteration)"


def _work(config: GANRunConfig, macs: int, dataset: ImageDataset | None) -> list[str]:
    """Return the lines on images, steps and multiply-accumulates, of which an iteration has ``macs``."""
    trainer = config.trainer
    iterations = -(-trainer.total_images // trainer.images_per_iteration)
    shown = iterations * trainer.images_per_iteration
    trained_on = () if dataset is None else without_held_out(dataset, share=trainer.held_out, seed=config.seed)[0]
    epochs = "" if dataset is None else f" = {shown / len(trained_on):.1f} epochs"
    return [
        f"images: {shown:,} shown to the discriminator{epochs}{rounded_up(shown, trainer)}",
        f"steps: {iterations:,} generator steps, {iterations * trainer.n_dis:,} discriminator steps, batch {trainer.batch_size}",
        f"work: {macs:,} MACs per iteration, {macs * iterations:.3g} in all",
    ]


def _disk(trainer: TrainerConfig, checkpoint: int) -> list[str]:
    """Return the lines on the number of checkpoints and their disk space, at ``checkpoint`` bytes each."""
    step, every = trainer.images_per_iteration, trainer.checkpoint_every
    ends = range(step, trainer.total_images + step, step)
    written = sum(due(images - step, images, every) or images == ends[-1] for images in ends)
    kept = min(written, trainer.keep_checkpoints)
    return [
        f"checkpoints: {written} written, {kept} kept",
        f"disk: {checkpoint / 2**20:.1f} MiB per checkpoint, {checkpoint * kept / 2**20:.1f} MiB kept",
    ]
