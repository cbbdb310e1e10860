"""The scored images: a source of images from a run's generator or from files, with its part of the score card."""

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import nn

from gconv_gan.commands.train.networks import TrainedRun
from gconv_gan.config.errors import UserError
from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.data.cache import open_dataset
from gconv_gan.data.reading.archives import printable
from gconv_gan.layers.weights import channels_last
from gconv_gan.metrics.images.content_order import BY_CONTENT, ContentOrder
from gconv_gan.metrics.images.extraction import usual_batch_size
from gconv_gan.metrics.images.sources import ChosenImages, FakeSource, ImageFiles, ImageSource
from gconv_gan.metrics.images.standing import STANDING, set_standing_statistics
from gconv_gan.metrics.score_card import FakesCard, RunCard, library_versions
from gconv_gan.models.gan.mapping import MappedGenerator
from gconv_gan.runtime.device import command_device

BATCH = 64  # of --batch-norm batch: StudioGAN's

BatchNormMode = Literal["eval", "standing", "batch"]
BATCH_NORM: dict[str, str] = {"eval": "eval", "standing": STANDING, "batch": f"batch of {BATCH}"}  # text in score cards


@dataclass(frozen=True)
class Fakes:
    """Images to be scored, with their part of the score card and that of their run."""

    source: ImageSource
    card: FakesCard
    run: RunCard | None


def generator_source(
    generator: nn.Module,
    *,
    count: int,
    seed: int,
    batch_norm: BatchNormMode,
    device: torch.device,
    truncation: float | None = None,
    class_counts: Sequence[int] | None = None,
    batch_size: int | None = None,
) -> FakeSource:
    """Return a source of ``count`` images of ``generator``, which is not changed, with its BatchNorms in the mode ``batch_norm``.

    ``truncation`` is ψ for a generator behind a mapping network, and the threshold of z for any other; ``batch_size`` is that of a
    call (None: the default of the device).

    Raises:
        UserError: the threshold is 0.

    """
    threshold = truncation
    if truncation == 0 and not isinstance(generator, MappedGenerator):
        raise UserError(
            "a truncation of 0 is for generators with a mapping network, where it gives the mean w: a threshold of z is above 0"
        )
    if isinstance(generator, MappedGenerator) and truncation is not None:
        generator, threshold = generator.truncated(truncation), None
    if batch_norm == "standing":
        generator = copy.deepcopy(generator)
        set_standing_statistics(generator, seed=seed, threshold=threshold)
    return FakeSource(
        generator,
        count=count,
        seed=seed,
        device=device,
        class_counts=class_counts,
        batch_size=batch_size,
        threshold=threshold,
        statistics_batch=BATCH if batch_norm == "batch" else None,
    )


def run_card(config: GANRunConfig, *, rule: str | None, device: torch.device) -> RunCard:
    """Return the part of a card about a training run; the evaluation fills in processes, batch size and seconds."""
    return RunCard(
        config_sha256=hashlib.sha256(config.model_dump_json().encode()).hexdigest(),
        training_seed=config.seed,
        checkpoint_rule=rule,
        batch_size=usual_batch_size(device),
        device=str(device),
        versions=library_versions(),
        seconds=0.0,
    )


def run_fakes(
    run: TrainedRun,
    *,
    count: int,
    seed: int,
    weights: Literal["ema", "raw"],
    batch_norm: BatchNormMode,
    truncation: float | None,
    labels: Literal["uniform", "empirical"],
    rule: str,
) -> Fakes:
    """Return the images of a run's generator at its checkpoint.

    Raises:
        UserError: ``labels`` is "empirical" for an unconditional run.

    """
    device = command_device()
    counts = _class_counts(run) if labels == "empirical" else None
    generator = run.generator(weights).to(device)
    channels_last(generator)
    source = generator_source(
        generator, count=count, seed=seed, batch_norm=batch_norm, device=device, truncation=truncation, class_counts=counts
    )
    file = run.checkpoint / ("ema.safetensors" if weights == "ema" else "generator.safetensors")
    progress = run.state["progress"]
    card = FakesCard(
        source=str(run.checkpoint),
        size=run.config.data.size,
        weights_sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        weights=weights,
        images_seen=progress["images_seen"],
        generator_step=progress["g_steps"],
        n_dis=run.config.trainer.n_dis,
        batch_norm=BATCH_NORM[batch_norm],
        truncation=truncation,
        truncated=None if truncation is None else "w" if isinstance(generator, MappedGenerator) else "z",
        precision="fp32",
        labels=source.labels,
        seed=seed,
    )
    return Fakes(source, card, run_card(run.config, rule=rule, device=device))


def _class_counts(run: TrainedRun) -> list[int]:
    if run.num_classes is None:
        raise UserError(f"--labels empirical draws classes as often as the training data, but {run.config.name} is unconditional")
    labels = open_dataset(run.config.data).labels
    assert labels is not None
    counts: list[int] = np.bincount(labels, minlength=run.num_classes).tolist()
    return counts


def file_fakes(files: ContentOrder[ImageFiles], source: str, *, count: int | None, seed: int) -> Fakes:
    """Return the images in ``files``, or ``count`` of them chosen by ``seed``; ``source`` is their name in the card."""
    card = FakesCard(source=printable(source), recipe=files.source.recipe, size=files.size, formats=files.formats, order=BY_CONTENT)
    if count is None or count == len(files):
        return Fakes(files, card, None)
    return Fakes(ChosenImages(files, count, seed=seed, key="--num-fake"), card.model_copy(update={"seed": seed}), None)
