"""Control of the discriminator's augmentation: constant (DiffAugment), by a schedule, or by the discriminator's overfitting (ADA)."""

import math
from typing import Annotated, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor, nn

from gconv_gan.augment.ada import ADAPipeline
from gconv_gan.config.ranges import Share

Images = Float[Tensor, "b 3 s s"]
Draws = Float[Tensor, "b n"]


@runtime_checkable
class Augment(Protocol):
    """A differentiable augmentation of each of the images [B, 3, S, S] by its uniform numbers [B, ``numbers_per_image``]."""

    numbers_per_image: int

    def __call__(self, images: Images, draws: Draws) -> Images:
        """Return the augmented images."""
        ...


@runtime_checkable
class Scheduled(Protocol):
    """A part of the objective that depends on the images seen."""

    def begin(self, images_seen: int) -> None:
        """Set the values that depend on the images seen, for the steps of the next iteration."""
        ...


@runtime_checkable
class Adaptive(Protocol):
    """An augmentation that follows the discriminator's logits."""

    def observe(self, signs: Tensor, images: int) -> None:
        """Add the sum of the signs of ``images`` real logits of one discriminator step over all processes, without a host read."""
        ...


class ScheduledAugment(ADAPipeline, nn.Module):
    """ADA's pipeline with a scheduled probability (R3GAN), which rises with the images seen along half a cosine and then is constant.

    The probability is a tensor, so that it can change between repetitions of recorded operations.

    Args:
        probability: p in the end (R3GAN: 0.55 on CIFAR-10, 0.3 on FFHQ).
        rise_images: Images in which p rises from 0 along half a cosine; 0: constant.
        groups: as ``ADAPipeline``.

    """

    probability: Tensor

    def __init__(self, *, probability: Share = 0.55, rise_images: NonNegativeInt = 0, **groups: float) -> None:
        nn.Module.__init__(self)
        ADAPipeline.__init__(self, **groups)
        self.final, self.rise_images = probability, rise_images
        self.register_buffer("probability", torch.zeros((), dtype=torch.float64), persistent=False)
        self.begin(0)

    def begin(self, images_seen: int) -> None:
        """Set p for the steps that begin at ``images_seen``."""
        risen = min(images_seen / self.rise_images, 1.0) if self.rise_images else 1.0
        self.probability.fill_(self.final * 0.5 * (1 - math.cos(math.pi * risen)))

    def forward(self, images: Images, draws: Draws) -> Images:
        """Return the images [B, 3, s, s], each transformed with the probability p."""
        return self.augmented(images, draws, self.probability)


class AdaptiveAugment(ADAPipeline, nn.Module):
    r"""Adaptive augmentation: StyleGAN2-ADA's pipeline, its probability p driven by the discriminator's overfitting.

    .. math:: p \leftarrow \mathrm{clip}_{[0, 1]}\Big(p + \mathrm{sign}(r_t - r^*) \frac{n}{N}\Big), \quad r_t = E\,\mathrm{sign}(s_r - s_0)

    after every ``every`` discriminator steps, n the real images of these steps, N ``ramp_images``, s_r their logits, s_0 the loss's
    boundary between real and generated (the paper: 0), r* the ``target`` (arXiv 2006.06676, section 3).

    The buffers are the state: ``probability``, and the sum of signs and number of images since p was last set.

    Args:
        target: Wanted mean sign of the real logits; above it p rises, below it p falls.
        ramp_images: Images in which p can rise from 0 to 1.
        every: Discriminator steps between adjustments of p.
        initial_probability: p at the start of the run.
        groups: as ``ADAPipeline``.

    """

    reads_signs: ClassVar[bool] = True
    probability: Tensor
    signs: Tensor
    images: Tensor
    steps: Tensor

    def __init__(
        self,
        *,
        target: Annotated[float, Field(gt=-1, lt=1)] = 0.6,
        ramp_images: PositiveInt = 500_000,
        every: PositiveInt = 4,
        initial_probability: Share = 0.0,
        **groups: float,
    ) -> None:
        nn.Module.__init__(self)
        ADAPipeline.__init__(self, **groups)
        self.target, self.ramp_images, self.every = target, ramp_images, every
        self.register_buffer("probability", torch.tensor(initial_probability, dtype=torch.float64))
        for name in ("signs", "images", "steps"):
            self.register_buffer(name, torch.zeros((), dtype=torch.int64))

    def forward(self, images: Images, draws: Draws) -> Images:
        """Return the images [B, 3, s, s], each transformed with the probability p."""
        return self.augmented(images, draws, self.probability)

    @torch.no_grad()
    def observe(self, signs: Tensor, images: int) -> None:
        """Add the sum of the signs of ``images`` real logits of one step over all processes; adjust p after every ``every`` steps."""
        self.signs.add_(signs.long())
        self.images.add_(images)
        self.steps.add_(1)
        due = self.steps >= self.every
        overfitting = self.signs.double() / self.images
        moved = self.probability + (overfitting - self.target).sign() * self.images / self.ramp_images
        self.probability.copy_(torch.where(due, moved.clamp(0.0, 1.0), self.probability))
        for buffer in (self.signs, self.images, self.steps):
            buffer.mul_(~due)
