"""DiffAugment: the same differentiable augmentations of real and generated images, in both players' steps.

Zhao, Liu, Lin, Zhu, Han, "Differentiable Augmentation for Data-Efficient GAN Training", arXiv 2006.10738 (2020). Constants were
checked against StudioGAN's ``utils/diffaug.py``.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from gconv_gan.augment.blit import blit, shifted
from gconv_gan.augment.uniform import between, integer
from gconv_gan.data.batches.augment import cutout

Policy = Literal["color", "translation", "cutout"]
NUMBERS: dict[Policy, int] = {"color": 3, "translation": 2, "cutout": 2}

Images = Float[Tensor, "b 3 s s"]
Draws = Float[Tensor, "b n"]


class DiffAugment:
    r"""DiffAugment: colour, translation and cut-out of every image, real and generated, in both players' steps.

    - color: brightness :math:`x + u`, u in [-½, ½); saturation :math:`(x - m)\,u + m`, u in [0, 2), m the mean over the channels
      of each pixel; contrast :math:`(x - m)\,u + m`, u in [½, 1½), m the mean of the image;
    - translation: by up to ⌊S/8 + ½⌋ pixels each way, with zeros at the uncovered border;
    - cutout: a square of side ⌊S/2 + ½⌋ set to zero, its middle anywhere in the image.

    Called with images [B, 3, S, S] in [-1, 1] and uniform numbers [B, ``numbers_per_image``] in [0, 1); zero is mid-grey.

    Args:
        policy: What is applied, in this order, to each image with its own numbers.

    """

    def __init__(self, *, policy: Sequence[Policy] = ("color", "translation", "cutout")) -> None:
        self.policy = tuple(policy)
        self.numbers_per_image = sum(NUMBERS[name] for name in self.policy)

    def __call__(self, images: Images, draws: Draws) -> Images:
        parts = torch.split(draws.to(images.dtype), [NUMBERS[name] for name in self.policy], dim=1)
        for name, part in zip(self.policy, parts, strict=True):
            images = APPLY[name](images, part)
        return images


def color(images: Images, draws: Draws) -> Images:
    """Return the images with another brightness, saturation and contrast, in this order."""
    brightness, saturation, contrast = draws[:, :, None, None, None].unbind(1)
    images = images + between(brightness, -0.5, 0.5)
    grey = images.mean(1, keepdim=True)
    images = torch.lerp(grey, images, between(saturation, 0.0, 2.0))
    mean = images.mean((1, 2, 3), keepdim=True)
    return torch.lerp(mean, images, between(contrast, 0.5, 1.5))


def translation(images: Images, draws: Draws) -> Images:
    """Return the images shifted by up to an eighth of their side."""
    size = images.shape[-1]
    reach = int(size / 8 + 0.5)
    down, right = (integer(u, -reach, reach) for u in draws.unbind(1))
    return blit(images, shifted(size, down), shifted(size, right))


def blanked(images: Images, draws: Draws) -> Images:
    """Return the images with a square of half their side set to zero, as far as it lies inside."""
    size = images.shape[-1]
    side = int(size / 2 + 0.5)
    # for an even side the middle may also lie on the lower and right border
    return cutout(images, torch.stack([integer(u, 0, size - side % 2) for u in draws.unbind(1)], 1), side)


APPLY = {"color": color, "translation": translation, "cutout": blanked}
