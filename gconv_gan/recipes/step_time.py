"""How long an iteration of training takes on this device: measured on noise images in a few seconds, for a dry run.

The steps are those of the loops, with their optimisers, on the networks as Accelerate runs them. What a loop does besides is left out:
reading images, samples, scores, checkpoints. The batch is doubled from two images on while the next doubling fits into the budget;
where it ends below the run's (or below its micro-batch), the time is scaled in proportion. Where not even two images fit, the time is
that of a forward pass of the generator (or classifier) of two images, scaled by the multiply-adds.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from gconv_gan.config.classifiers import ClassifierRunConfig
from gconv_gan.config.errors import UserError
from gconv_gan.config.runs import GANRunConfig
from gconv_gan.layers.conv_norm import cached_spectra
from gconv_gan.layers.spectral_norm import one_power_iteration
from gconv_gan.metrics.cost import inference, synchronise
from gconv_gan.metrics.cost import seconds as median_seconds
from gconv_gan.optim.ema import Ema
from gconv_gan.optim.factory import build_network_optimizer
from gconv_gan.recipes.gan_checks import CheckedGAN
from gconv_gan.training.classifier import classifier_step
from gconv_gan.training.draws import Draws
from gconv_gan.training.gan_inputs import discriminator_inputs, generator_inputs
from gconv_gan.training.gan_step import d_step, g_step
from gconv_gan.training.state import GANProgress
from gconv_gan.training.step import channels_last, finish_step, over_micro_batches

BUDGET = 5.0
"""Seconds of measuring; a measurement that was begun within them is finished."""
START = 2  # images: a BatchNorm in training needs two


@dataclass(frozen=True)
class StepTime:
    """An estimate, and what it is from."""

    seconds: float
    """Of one iteration on the whole batch."""
    batch: int | None
    """Images of the batch that was measured, on this process; None: a forward pass alone was."""

    def text(self, iterations: int, *, share: int, device: torch.device) -> str:
        """Return a line on the time of ``iterations``, on a device that takes ``share`` images of every batch."""
        if self.batch is None:
            basis = "from a forward pass of two images, scaled by the MACs"
        elif self.batch < share:
            basis = f"measured with {self.batch} images at a time and scaled to {share}"
        else:
            basis = f"measured with {share} images at a time"
        return (
            f"time: about {duration(self.seconds)} per iteration on {device.type}, {duration(self.seconds * iterations)} for the "
            f"{iterations:,} iterations to go: an estimate, {basis}, without reading images, scores, samples and checkpoints"
        )


def duration(seconds: float) -> str:
    """Return "0.12 s", "34 s", "12 min", "3.4 h" or "56 days"."""
    for unit, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.{int(seconds < 10 * length)}f} {unit}"
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"


@dataclass(frozen=True)
class NoiseImages:
    """Batches of noise in [-1, 1], the same at every place: real images as far as the time of a step is concerned."""

    images: Tensor
    labels: Tensor | None

    def batch(self, images_seen: int) -> tuple[Tensor, Tensor | None]:
        """Return the images and their labels, whatever was seen before."""
        del images_seen
        return self.images, self.labels


def gan_step_time(config: GANRunConfig, parts: CheckedGAN, accelerator: Accelerator, *, macs: int, generator_macs: int) -> StepTime:
    """Return how long ``n_dis`` discriminator steps and one generator step take; changes the networks of ``parts``.

    Args:
        config: the run.
        parts: its networks and objective.
        accelerator: device and processes.
        macs: multiply-adds of the iteration, over all processes.
        generator_macs: multiply-adds of the generator per image.

    Raises:
        UserError: the batch does not fit into the device's memory.

    """
    trainer, device, objective = config.trainer, accelerator.device, parts.objective
    generator, discriminator = (network.to(device) for network in (parts.generator, parts.discriminator))
    for hook in parts.hooks:
        hook.before_fit({"generator": generator, "discriminator": discriminator})
    for network in (generator, discriminator):
        channels_last(network)
    optimizers = {
        "generator": build_network_optimizer(config.generator_optimizer, generator),
        "discriminator": build_network_optimizer(config.discriminator_optimizer, discriminator),
    }
    average = Ema(generator, half_life_images=config.ema.half_life_images, ramp=config.ema.ramp)
    wrapped_generator, wrapped_discriminator = accelerator.prepare(generator, discriminator)
    finish = partial(finish_step, hooks=parts.hooks, max_grad_norm=trainer.max_grad_norm, images_seen=0)
    penalty = config.objective.penalty

    def iteration(batch: int) -> float:
        draws = Draws(config.seed, batch, config.generator.latent_dim, parts.num_classes, 0, 1, device)
        y = None if parts.num_classes is None else torch.arange(batch, device=device) % parts.num_classes
        reals = NoiseImages(torch.rand(batch, 3, config.data.size, config.data.size, device=device) * 2 - 1, y)
        accumulate = partial(over_micro_batches, count=1, accelerator=accelerator)

        def d(factor: float) -> None:
            inputs = discriminator_inputs(reals, draws, objective, GANProgress(), accelerator, penalised=factor > 0)
            step = partial(d_step, generator, wrapped_discriminator, objective, images_seen=0, penalty_factor=factor)
            with cached_spectra(), one_power_iteration(generator, discriminator):
                accumulate(step, inputs, wrapped_discriminator)
            finish("discriminator", discriminator, optimizers["discriminator"])

        def g() -> None:
            own = reals if objective.loss.relativistic else None
            inputs = generator_inputs(own, draws, objective, GANProgress(), batch_size=batch)
            step = partial(g_step, wrapped_generator, discriminator, objective)
            with cached_spectra(), one_power_iteration(generator, discriminator):
                accumulate(step, inputs, wrapped_generator)
            finish("generator", generator, optimizers["generator"])
            average.update(generator, batch_images=batch, images_seen=batch)

        g_seconds = elapsed(g, accelerator)
        if penalty.kind == "none":
            return trainer.n_dis * elapsed(partial(d, 0.0), accelerator) + g_seconds
        penalised = elapsed(partial(d, 1.0), accelerator)
        without = penalised if penalty.every == 1 else elapsed(partial(d, 0.0), accelerator)
        return trainer.n_dis * (without + (penalised - without) / penalty.every) + g_seconds

    z = torch.zeros(START, config.generator.latent_dim, device=device)
    y = None if parts.num_classes is None else torch.zeros(START, dtype=torch.long, device=device)
    forward = elapsed_forward(generator, accelerator, z, y)
    share = trainer.batch_size // accelerator.num_processes
    rough = forward * macs / accelerator.num_processes / (START * generator_macs)
    return estimate(iteration, accelerator, share=share, part=share // trainer.micro_batches, rough=rough)


def classifier_step_time(config: ClassifierRunConfig, network: nn.Module, classes: int, accelerator: Accelerator) -> StepTime:
    """Return how long one step takes; changes ``network``.

    Args:
        config: the run.
        network: its network.
        classes: how many it knows.
        accelerator: device and processes.

    Raises:
        UserError: the batch does not fit into the device's memory.

    """
    trainer, device, size = config.trainer, accelerator.device, config.image_size
    network = network.to(device)
    channels_last(network)
    optimizer = build_network_optimizer(config.optimizer, network)
    wrapped = accelerator.prepare(network)

    def iteration(batch: int) -> float:
        x = (torch.rand(batch, 3, size, size, device=device) * 2 - 1).contiguous(memory_format=torch.channels_last)
        y = torch.arange(batch, device=device) % classes

        def step() -> None:
            classifier_step(wrapped, x, y, y, weight=1.0, smoothing=config.labels.smoothing, backward=accelerator.backward)
            finish_step("classifier", network, optimizer, hooks=(), max_grad_norm=trainer.max_grad_norm, images_seen=0)

        return elapsed(step, accelerator)

    share = trainer.batch_size // accelerator.num_processes
    forward = elapsed_forward(network, accelerator, torch.zeros(START, 3, size, size, device=device))
    return estimate(iteration, accelerator, share=share, part=share // trainer.micro_batches, rough=forward * 3 * share / START)


def estimate(iteration: Callable[[int], float], accelerator: Accelerator, *, share: int, part: int, rough: float) -> StepTime:
    """Return the time of an iteration from as large a batch as the budget lets be measured.

    Args:
        iteration: runs one on so many images and returns its seconds, the same on every process.
        accelerator: device and processes.
        share: images of the batch on this process.
        part: the most of them that are in memory together.
        rough: seconds of the iteration by its multiply-adds.

    Raises:
        UserError: the batch does not fit into the device's memory.

    """
    batch, repeated, spent = min(START, part), 0, 0.0
    if rough * batch / share > BUDGET:
        return StepTime(rough, None)
    try:
        start = time.perf_counter()
        seconds = iteration(batch)
        grown = min(2 * batch, part)
        while repeated < 2 and spent + (last := agreed(time.perf_counter() - start, accelerator)) * (1 + grown / batch) <= BUDGET:
            spent += last
            start = time.perf_counter()
            measured = iteration(grown)
            if grown == batch:  # the first pass at a size also allocates and chooses algorithms
                repeated += 1
                measured = min(measured, seconds)
            seconds, batch, grown = measured, grown, min(2 * grown, part)
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"a step of {grown} images does not fit into the memory of {accelerator.device}: raise trainer.micro_batches, or lower "
            "trainer.batch_size or the networks' width"
        ) from error
    return StepTime(seconds * share / batch, batch)


def elapsed_forward(network: nn.Module, accelerator: Accelerator, *inputs: Tensor | None) -> float:
    """Return the seconds of a forward pass in evaluation mode, after a warm-up, on the slowest process."""
    run = inference(network, *(tensor for tensor in inputs if tensor is not None))
    return agreed(median_seconds({"forward": run}, repeats=1, device=accelerator.device)["forward"], accelerator)


def elapsed(run: Callable[[], object], accelerator: Accelerator) -> float:
    """Return the seconds of one call on the slowest process, which all agree on."""
    synchronise(accelerator.device)
    start = time.perf_counter()
    run()
    synchronise(accelerator.device)
    return agreed(time.perf_counter() - start, accelerator)


def agreed(seconds: float, accelerator: Accelerator) -> float:
    """Return the largest of the processes' values: what they do next must not differ, or they would wait for each other for ever."""
    return float(accelerator.gather(torch.tensor([seconds], device=accelerator.device)).max())
