"""Checks of a GAN run before training; the run and its dry run both call ``check`` and refuse the same configs."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch import nn

from gconv_gan.commands.train.listed_methods import checked, listed_methods
from gconv_gan.commands.train.networks import build_networks, narrow_maps
from gconv_gan.commands.train.objective import build_objective
from gconv_gan.commands.train.trained.start_from import start_from
from gconv_gan.commands.train.training_score import ScorePlan, training_score
from gconv_gan.config.errors import UserError
from gconv_gan.config.load import load_config
from gconv_gan.config.schema import constructor
from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.data.batches.loaders import BatchSource
from gconv_gan.data.batches.subset import without_held_out
from gconv_gan.data.datasets import published_classes, require_full_batch, require_labels
from gconv_gan.data.image_dataset import ImageDataset
from gconv_gan.losses.objective import Objective
from gconv_gan.methods.method import Method, PlayerName
from gconv_gan.methods.temperature import GateTemperature
from gconv_gan.models.changes import Record, inherited, read_records
from gconv_gan.runtime.random import stream_seed
from gconv_gan.runtime.run_folder import RunFolder
from gconv_gan.training.checkpoint import STATE, forked_from, images_at, lineage, load_network, resumable

FEW_IMAGES = 5_000
"""At 5,000 faces of FFHQ, and 256 px, the discriminator of StyleGAN2 without augmentation had learned the images by heart."""

FEW_AUGMENTED_IMAGES = 1_000
"""The smallest set that arXiv 2006.06676 trains on with augmentation has 1,000 images; MetFaces' 1,336 start from trained weights."""


@dataclass(frozen=True)
class CheckedGAN:
    """The parts of a checked run. Nothing has been written to its folder."""

    folder: RunFolder
    resumes_from: Path | None
    """The checkpoint from which it resumes."""
    forks: Path | None
    """The checkpoint of another run from which a new run goes on."""
    inherited: list[Record]
    """Records of the changes of structure that the networks had when the run, or the one that it goes on from, started."""
    num_classes: int | None
    generator: nn.Module
    discriminator: nn.Module
    objective: Objective
    methods: tuple[Method, ...]
    scored: ScorePlan | None
    data: BatchSource | None
    """None, like the following fields, if the data are not downloaded yet."""
    generator_data: BatchSource | None
    """The real images of generator steps, for a relativistic loss."""
    facts: dict[str, Any]
    """Contents of a checkpoint besides the weights."""
    warnings: list[str]
    """About networks that can be trained, but hardly as meant."""


def check(config: GANRunConfig, accelerator: Accelerator, dataset: ImageDataset | None) -> CheckedGAN:
    """Build everything that ``config`` names, check that it can be trained, and return it.

    Args:
        config: the run.
        accelerator: device and processes of the run.
        dataset: its real images; None if they are not downloaded yet: checks that depend on them are then skipped.

    Raises:
        UserError: the run would be refused.

    """
    folder = RunFolder(Path(config.runs_dir) / config.name)
    if accelerator.is_main_process:
        folder.require_startable(config)
    num_classes = None
    if config.conditional:
        if dataset is not None:
            require_labels(dataset)
        num_classes = published_classes(config.data) if dataset is None else dataset.num_classes
    generator, discriminator = build_networks(config, num_classes)
    objective = build_objective(config, discriminator, num_classes)
    data, generator_data, facts = None, None, {}
    if dataset is not None:
        trainer = config.trainer
        parts = accelerator.num_processes * trainer.micro_batches
        training, held_out = without_held_out(dataset, share=trainer.held_out, seed=config.seed)
        if trainer.held_out and len(held_out) < 2:
            raise UserError(
                f"trainer.held_out {trainer.held_out} holds out {len(held_out)} of {len(dataset):,} images: raise it, or set it to 0"
            )
        require_full_batch(dataset, len(training), batch_size=trainer.batch_size, parts=parts)
        data = real_images(config, dataset, accelerator, seed=config.seed)
        generator_data = generator_images(config, dataset, accelerator, objective)
        facts = {
            "data": dataset.content_hash,
            "data_title": dataset.title,
            "classes": list(dataset.classes) if num_classes is not None else None,
            "image_size": config.data.size,
            "num_processes": accelerator.num_processes,
            "mixed_precision": accelerator.mixed_precision,
        }
    resumes_from = resumable(folder.path, facts, lambda _: None)  # the run itself reports damaged ones
    forks = forked(config, generator, discriminator) if config.fork is not None and resumes_from is None else None
    if config.fork is not None:
        facts["fork"] = lineage(forks) if forks else json.loads((resumes_from / STATE).read_text())["fork"]  # type: ignore[operator]
    warnings = narrow_maps(config, generator, discriminator) + ([] if dataset is None else too_few(config, len(training)))
    before = resumes_from or forks
    records = [] if before is None else inherited(read_records(before / STATE))
    if config.start_from is not None and resumes_from is None:
        started = start_from(Path(config.start_from), generator, discriminator, num_classes=num_classes)
        records, warnings = started.records, [*warnings, *started.messages]
    optimizers: dict[PlayerName, Any] = {
        "generator": constructor(config.generator_optimizer, "generator_optimizer"),
        "discriminator": constructor(config.discriminator_optimizer, "discriminator_optimizer"),
    }
    return CheckedGAN(
        folder=folder,
        resumes_from=resumes_from,
        forks=forks,
        inherited=records,
        num_classes=num_classes,
        generator=generator,
        discriminator=discriminator,
        objective=objective,
        methods=checked(
            methods(config),
            {"generator": generator, "discriminator": discriminator},
            optimizers,
            before,
            total_images=config.trainer.total_images,
        ),
        scored=training_score(config, dataset, generator, accelerator.device),
        data=data,
        generator_data=generator_data,
        facts=facts,
        warnings=warnings,
    )


def forked(config: GANRunConfig, generator: nn.Module, discriminator: nn.Module) -> Path:
    """Return the checkpoint of ``config.fork``; check that networks and optimisers of the run can go on from it.

    Raises:
        UserError: there is no such checkpoint, or it holds other networks or optimisers, or all images of the run.

    """
    assert config.fork is not None
    path = forked_from(config.fork)
    earlier = load_config(GANRunConfig, path.parent / "config.json")
    for name in ("generator_optimizer", "discriminator_optimizer"):
        before, now = getattr(earlier, name).kind, getattr(config, name).kind
        if before != now:
            raise UserError(f'fork: {path} holds the moments of {name}.kind = "{before}", this run has "{now}": take start_from instead')
    if images_at(path) >= config.trainer.total_images:
        raise UserError(f"fork: {path} has seen {images_at(path):,} images: give a larger --trainer.total-images")
    if not read_records(path / STATE):  # otherwise the structure is repeated first, and the loop loads the weights
        load_network(path / "generator.safetensors", generator)
        load_network(path / "discriminator.safetensors", discriminator)
    return path


def too_few(config: GANRunConfig, images: int) -> list[str]:
    """Return a message where there are so few images that a discriminator learns them by heart (arXiv 2006.06676, figure 1)."""
    if images >= FEW_IMAGES or (config.augment.kind != "none" and images >= FEW_AUGMENTED_IMAGES):
        return []
    if config.augment.kind != "none":
        if config.start_from or config.fork:
            return []
        return [
            f"{images:,} images are few even with augmentation: fine-tune a run on similar pictures (--start-from RUN), and look for copies"
        ]
    return [
        f"{images:,} images are few: without augmentation a discriminator learns fewer than {FEW_IMAGES:,} by heart, and samples get worse "
        "after a while: --augment.kind ada, or fine-tune with --start-from RUN"
    ]


def real_images(config: GANRunConfig, dataset: ImageDataset, accelerator: Accelerator, *, seed: int) -> BatchSource:
    """Return the batches of this process."""
    return BatchSource(
        dataset,
        seed=seed,
        flip=config.data.flip,
        batch_size=config.trainer.batch_size,
        balance=config.trainer.balance,
        micro_batches=config.trainer.micro_batches,
        process_index=accelerator.process_index,
        num_processes=accelerator.num_processes,
        device=accelerator.device,
        resident=config.data.resident,
        indices=without_held_out(dataset, share=config.trainer.held_out, seed=config.seed)[0] if config.trainer.held_out else None,
    )


def generator_images(config: GANRunConfig, dataset: ImageDataset, accelerator: Accelerator, objective: Objective) -> BatchSource | None:
    """Return the real images of generator steps, in an order of their own, where the loss needs them."""
    if not objective.loss.relativistic:
        return None
    return real_images(config, dataset, accelerator, seed=stream_seed(config.seed, "generator_reals", 0))


def methods(config: GANRunConfig) -> tuple[Method, ...]:
    """Return the training methods: that which ``generator.conv.anneal_images`` requests, then those of ``[[methods]]``."""
    found: list[Method] = []
    conv = getattr(config.generator, "conv", None)
    images: int | None = getattr(conv, "anneal_images", None)
    if conv is not None and images is not None:
        found.append(GateTemperature(first=conv.temperature, images=images))
    return (*found, *listed_methods(config.methods))
