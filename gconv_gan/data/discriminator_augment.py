"""Who decides how much the discriminator's images are augmented: nobody (DiffAugment), a schedule, or its own overfitting."""

import math
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gconv_gan.data.ada import ADAPipeline
from gconv_gan.data.diff_augment import DiffAugment

Images = Float[Tensor, "b 3 s s"]
Draws = Float[Tensor, "b n"]


@runtime_checkable
class Augment(Protocol):
    """An augmentation of images [B, 3, S, S] by uniform numbers [B, ``numbers_per_image``]; differentiable, each image by itself."""

    numbers_per_image: int

    def __call__(self, images: Images, draws: Draws) -> Images:
        """Return the augmented images."""
        ...


class ScheduledAugment(nn.Module):
    """``ADAPipeline`` under a probability that rises from 0 along half a cosine (R3GAN's ``training_loop.py``), then stays.

    The probability is a tensor, so that it can change between repetitions of recorded operations.
    """

    numbers_per_image: int = ADAPipeline.numbers_per_image
    probability: Tensor

    def __init__(self, pipeline: ADAPipeline, *, probability: float, rise_images: int) -> None:
        super().__init__()
        self.pipeline, self.final, self.rise_images = pipeline, probability, rise_images
        self.register_buffer("probability", torch.zeros((), dtype=torch.float64), persistent=False)
        self.begin(0)

    def begin(self, images_seen: int) -> None:
        """Set p for the steps that begin at ``images_seen``."""
        risen = min(images_seen / self.rise_images, 1.0) if self.rise_images else 1.0
        self.probability.fill_(self.final * 0.5 * (1 - math.cos(math.pi * risen)))

    def forward(self, images: Images, draws: Draws) -> Images:
        return self.pipeline(images, draws, self.probability)


class AdaptiveAugment(nn.Module):
    r"""``ADAPipeline`` under a probability that follows the discriminator's overfitting (arXiv 2006.06676, section 3).

    .. math:: p \leftarrow \mathrm{clip}_{[0, 1]}\Big(p + \mathrm{sign}(r_t - r^*) \frac{n}{N}\Big), \quad r_t = E\,\mathrm{sign}(s_r - s_0)

    after every ``every`` discriminator steps, n the real images of these steps, N ``ramp_images``, s_r their logits, s_0 the loss's
    boundary between real and generated (the paper: 0), r* the ``target``.

    The buffers are the state: ``probability``, and the sum of signs and number of images since p was last set.
    """

    numbers_per_image: int = ADAPipeline.numbers_per_image
    probability: Tensor
    signs: Tensor
    images: Tensor
    steps: Tensor

    def __init__(self, pipeline: ADAPipeline, *, target: float, ramp_images: int, every: int, initial_probability: float) -> None:
        super().__init__()
        self.pipeline, self.target, self.ramp_images, self.every = pipeline, target, ramp_images, every
        self.register_buffer("probability", torch.tensor(initial_probability, dtype=torch.float64))
        for name in ("signs", "images", "steps"):
            self.register_buffer(name, torch.zeros((), dtype=torch.int64))

    def forward(self, images: Images, draws: Draws) -> Images:
        return self.pipeline(images, draws, self.probability)

    @torch.no_grad()
    def observe(self, signs: Tensor, images: int) -> None:
        """Take in the sum of the signs of ``images`` real logits, one discriminator step's over all processes; adjust p when it is time."""
        self.signs.add_(signs.long())
        self.images.add_(images)
        self.steps.add_(1)
        due = self.steps >= self.every
        overfitting = self.signs.double() / self.images
        moved = self.probability + (overfitting - self.target).sign() * self.images / self.ramp_images
        self.probability.copy_(torch.where(due, moved.clamp(0.0, 1.0), self.probability))
        for buffer in (self.signs, self.images, self.steps):
            buffer.mul_(~due)


AnyAugment = DiffAugment | ScheduledAugment | AdaptiveAugment
