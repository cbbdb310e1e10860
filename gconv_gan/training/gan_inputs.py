"""What the two steps are given: real images, latents, labels and uniform numbers, each a function of the counters.

Generated images have labels drawn uniformly; under a relativistic loss, those of the real images that they are compared with, so that
a pair differs in nothing but being real (as in R3GAN's ``Trainer.py``).
"""

import torch
from accelerate import Accelerator
from torch import Tensor

from gconv_gan.data import weak_augment
from gconv_gan.data.loaders import BatchSource
from gconv_gan.training.draws import Draws
from gconv_gan.training.gan_step import DiscriminatorInputs, GeneratorInputs
from gconv_gan.training.objective import Objective
from gconv_gan.training.state import GANProgress


def discriminator_inputs(
    data: BatchSource, draws: Draws, objective: Objective, progress: GANProgress, accelerator: Accelerator, *, penalty_factor: float
) -> DiscriminatorInputs:
    """Return this process's share of the batch of the next discriminator step. Collective where the penalty needs ``real_std``.

    A ``penalty_factor`` of 0 leaves the penalty, and what it needs, out.
    """
    step = progress.d_steps
    reals, real_labels = real_batch(data, draws, progress.images_seen)
    z, fake_labels = draws("d", step)
    if objective.loss.relativistic:
        fake_labels = real_labels
    augment = 0 if objective.augment is None else objective.augment.numbers_per_image
    twins = 0 if objective.consistency is None else weak_augment.NUMBERS_PER_IMAGE
    penalty = objective.penalty if penalty_factor else None
    noise = draws.uniform("penalty", step, 0 if penalty is None else penalty.numbers_per_image(reals[0].numel()))
    return DiscriminatorInputs(
        reals,
        real_labels,
        z,
        fake_labels,
        real_draws=draws.uniform("augment_d_real", step, augment),
        fake_draws=draws.uniform("augment_d_fake", step, augment),
        real_twin_draws=draws.uniform("twins_real", step, twins),
        fake_twin_draws=draws.uniform("twins_fake", step, twins),
        penalty_noise=None if noise is None else noise.to(reals.device),
        real_std=standard_deviation(reals, accelerator) if penalty is not None and penalty.needs_std else None,
        penalty_factor=None if penalty is None else torch.full((), penalty_factor, device=reals.device),
    )


def generator_inputs(
    data: BatchSource | None, draws: Draws, objective: Objective, progress: GANProgress, *, batch_size: int
) -> GeneratorInputs:
    """Return this process's share of the batch of the next generator step; ``data`` gives a relativistic loss its own reals."""
    step = progress.g_steps
    z, fake_labels = draws("g", step)
    augment = 0 if objective.augment is None else objective.augment.numbers_per_image
    fake_draws = draws.uniform("augment_g_fake", step, augment)
    if data is None:
        return GeneratorInputs(z, fake_labels, fake_draws)
    reals, real_labels = real_batch(data, draws, step * batch_size)
    return GeneratorInputs(z, real_labels, fake_draws, reals, real_labels, draws.uniform("augment_g_real", step, augment))


def real_batch(data: BatchSource, draws: Draws, position: int) -> tuple[Tensor, Tensor | None]:
    """Return real images, as convolutions like them laid out, and their labels; None in an unconditional run."""
    reals, labels = data.batch(position)
    return reals.contiguous(memory_format=torch.channels_last), labels if draws.num_classes is not None else None


def standard_deviation(reals: Tensor, accelerator: Accelerator) -> Tensor:
    """Return the (unbiased) standard deviation of all values of the batch of all processes, each holding an equal share."""
    wide = reals.double()
    mean, square = accelerator.reduce(torch.stack([wide.mean(), wide.square().mean()]), reduction="mean")
    count = reals.numel() * accelerator.num_processes
    deviation: Tensor = ((square - mean.square()) * (count / (count - 1))).sqrt()
    return deviation.to(reals.dtype)
