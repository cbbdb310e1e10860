"""Inputs of discriminator and generator steps: real images, latents, labels and uniform numbers, functions of the counters.

Labels of generated images are drawn uniformly. Under a relativistic loss they are the labels of the paired real images, so that both
images of a pair have the same class (as in R3GAN's ``Trainer.py``).
"""

from typing import NamedTuple, Protocol, runtime_checkable

import torch
from accelerate import Accelerator
from jaxtyping import Float, Int
from torch import Tensor

from gconv_gan.augment import weak_augment
from gconv_gan.losses.objective import Objective
from gconv_gan.training.draws import Draws


class DiscriminatorInputs(NamedTuple):
    """Inputs of a discriminator step on this process. Uniform numbers are None for parts of the objective that need none."""

    reals: Float[Tensor, "b 3 s s"]
    real_labels: Int[Tensor, " b"] | None
    z: Float[Tensor, "b d"]
    fake_labels: Int[Tensor, " b"] | None
    real_draws: Float[Tensor, "b n"] | None
    fake_draws: Float[Tensor, "b n"] | None
    real_twin_draws: Float[Tensor, "b 3"] | None
    fake_twin_draws: Float[Tensor, "b 3"] | None
    penalty_noise: Float[Tensor, "b m"] | None
    real_std: Float[Tensor, ""] | None
    fakes: Float[Tensor, "b 3 s s"] | None = None
    """The images of ``z``, where they were generated with those of other steps, see ``training.fakes``."""


class GeneratorInputs(NamedTuple):
    """Inputs of a generator step on this process; the reals are None unless the loss is relativistic."""

    z: Float[Tensor, "b d"]
    fake_labels: Int[Tensor, " b"] | None
    fake_draws: Float[Tensor, "b n"] | None
    reals: Float[Tensor, "b 3 s s"] | None = None
    real_labels: Int[Tensor, " b"] | None = None
    real_draws: Float[Tensor, "b n"] | None = None


@runtime_checkable
class RealImages(Protocol):
    """Batches of real images [b, 3, S, S] in [-1, 1] and their labels [b], addressed by the number of images seen before them."""

    def batch(self, images_seen: int) -> tuple[Tensor, Tensor | None]:
        """Return one process's share of the batch after ``images_seen`` images."""
        ...

    def whole(self) -> "RealImages":
        """Return the source of the batches of all processes."""
        ...


def discriminator_inputs(
    data: RealImages, draws: Draws, objective: Objective, accelerator: Accelerator | None, *, step: int, images_seen: int, penalised: bool
) -> DiscriminatorInputs:
    """Return this process's share of the batch of discriminator step ``step``.

    ``accelerator`` is needed by a penalised step: it is collective where the penalty needs ``real_std``.
    """
    reals, real_labels = real_batch(data, draws, images_seen)
    augment = 0 if objective.augment is None else objective.augment.numbers_per_image
    twins = 0 if objective.consistency is None else weak_augment.NUMBERS_PER_IMAGE
    penalty = objective.penalty if penalised else None
    noise = 0 if penalty is None else penalty.numbers_per_image(reals[0].numel())
    z, labels, uniform = draws("d", step, [augment, augment, twins, twins, noise])
    real_draws, fake_draws, real_twin_draws, fake_twin_draws, penalty_noise = uniform
    return DiscriminatorInputs(
        reals,
        real_labels,
        z,
        real_labels if objective.loss.relativistic else labels,
        real_draws=real_draws,
        fake_draws=fake_draws,
        real_twin_draws=real_twin_draws,
        fake_twin_draws=fake_twin_draws,
        penalty_noise=penalty_noise,
        real_std=standard_deviation(reals, accelerator) if accelerator and penalty is not None and penalty.needs_std else None,
    )


def generator_inputs(data: RealImages | None, draws: Draws, objective: Objective, *, step: int, batch_size: int) -> GeneratorInputs:
    """Return this process's share of the batch of generator step ``step``; ``data`` supplies the real images of a relativistic loss."""
    augment = 0 if objective.augment is None else objective.augment.numbers_per_image
    z, labels, (fake_draws, real_draws) = draws("g", step, [augment, 0 if data is None else augment])
    if data is None:
        return GeneratorInputs(z, labels, fake_draws)
    reals, real_labels = real_batch(data, draws, step * batch_size)
    return GeneratorInputs(z, real_labels, fake_draws, reals, real_labels, real_draws)


def real_batch(data: RealImages, draws: Draws, position: int) -> tuple[Tensor, Tensor | None]:
    """Return real images in channels_last layout and their labels; None in an unconditional run."""
    reals, labels = data.batch(position)
    return reals.contiguous(memory_format=torch.channels_last), labels if draws.num_classes is not None else None


def standard_deviation(reals: Tensor, accelerator: Accelerator) -> Tensor:
    """Return the (unbiased) standard deviation of all values of the batch of all processes, each holding an equal share."""
    wide = reals.double()
    mean, square = accelerator.reduce(torch.stack([wide.mean(), wide.square().mean()]), reduction="mean")
    count = reals.numel() * accelerator.num_processes
    deviation: Tensor = ((square - mean.square()) * (count / (count - 1))).sqrt()
    return deviation.to(reals.dtype)
