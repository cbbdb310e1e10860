"""The augmentations of StyleGAN2-ADA: blits, geometry and colour, each applied to an image with probability p.

Karras, Aittala, Hellsten, Laine, Lehtinen, Aila, "Training Generative Adversarial Networks with Limited Data", arXiv 2006.06676
(2020), appendix B. Up to p of about 0.8 they do not leak into the generator, since enough images are not augmented.
"""

import math
from functools import cache

import torch
from jaxtyping import Float
from pydantic import NonNegativeFloat
from torch import Tensor

from gconv_gan.augment.blit import blit, mirrored, shifted
from gconv_gan.augment.uniform import Uniform, between, coin, integer, normal
from gconv_gan.augment.warp import warp
from gconv_gan.data.batches.augment import reflected

Images = Float[Tensor, "b 3 s s"]

BLIT, GEOMETRY, COLOR, CUTOUT = 7, 11, 10, 3  # uniform numbers that each group needs


class ADAPipeline:
    """Blits, then geometry, then colour, then a cut-out; each step of a group is applied with probability min(1, factor · p).

    It takes images [B, 3, S, S] in [-1, 1], uniform numbers [B, ``numbers_per_image``] and p, a number or a 0-dim tensor. All images
    pass through the same operations; if a step is not applied, its parameters are those of the identity. No device value is read.
    Differs from the authors' code: blits move whole pixels instead of being resampled; the filter is that of ``warp``.

    Args:
        blit: Factor on p for mirror images, turns by 90° and shifts by whole pixels; 0: none of them.
        geometry: Factor on p for scaling, rotation and shifts by fractions of a pixel.
        color: Factor on p for brightness, contrast, luma flip, hue and saturation (R3GAN: 0.5).
        cutout: Factor on p for a cut-out of half the side (R3GAN: 1).

    """

    numbers_per_image = BLIT + GEOMETRY + COLOR + CUTOUT

    def __init__(
        self,
        *,
        blit: NonNegativeFloat = 1.0,
        geometry: NonNegativeFloat = 1.0,
        color: NonNegativeFloat = 1.0,
        cutout: NonNegativeFloat = 0.0,
    ) -> None:
        self.groups = ((blitted, blit), (moved, geometry), (recoloured, color), (cut_out, cutout))

    def augmented(self, images: Images, draws: Float[Tensor, "b n"], probability: float | Float[Tensor, ""]) -> Images:
        """Return the images, each step of a group made with probability min(1, factor · ``probability``)."""
        p = torch.full((), probability, dtype=torch.float64, device=images.device) if isinstance(probability, float) else probability
        parts = torch.split(draws, [BLIT, GEOMETRY, COLOR, CUTOUT], dim=1)
        for (group, factor), part in zip(self.groups, parts, strict=True):
            if factor > 0:
                images = group(images, part, (factor * p).clamp(max=1.0))
        return images


def blitted(images: Images, draws: Float[Tensor, "b n"], p: Float[Tensor, ""]) -> Images:
    """Return images mirrored, turned by multiples of 90°, and shifted by up to an eighth of their side (reflecting)."""
    size = images.shape[-1]
    take = iter(draws.unbind(1))
    mirror = coin(next(take), p) & coin(next(take))
    quarters = _zero_unless(coin(next(take), p), integer(next(take), 0, 3))
    moves = coin(next(take), p)
    right, down = (_zero_unless(moves, (between(next(take), -0.125, 0.125) * size).round().long()) for _ in range(2))
    # a turn by a quarter, counter-clockwise, is the diagonal's mirror image upside down; the first mirror acts on what became rows
    odd, half = quarters % 2 == 1, quarters >= 2
    rows = mirrored(reflected(shifted(size, down), size), size, half ^ odd ^ (odd & mirror))
    columns = mirrored(reflected(shifted(size, right), size), size, half ^ (~odd & mirror))
    return blit(images, rows, columns, transpose=odd)


def moved(images: Images, draws: Float[Tensor, "b n"], p: Float[Tensor, ""]) -> Images:
    r"""Return images scaled, turned, stretched, turned again and shifted by fractions of a pixel.

    A point x goes to :math:`R(\beta)\, \mathrm{diag}(s t, s / t)\, R(\alpha)\, x + d`, with log₂ s and log₂ t from N(0, 0.2²), both angles
    uniform, and d from N(0, (S/8)²); parameters of steps that are not applied are 0.
    """
    u = draws.double()
    p_rotation = 1 - (1 - p).sqrt()  # the two rotations together then have probability p
    chosen = coin(u[:, 0:10:2], torch.stack([p, p_rotation, p, p_rotation, p]))
    s, t = (math.log(2) * normal(u[:, 1:6:4], 0.2) * chosen[:, 0:3:2]).exp().unbind(1)
    angles = between(u[:, 3:8:4], -math.pi, math.pi) * chosen[:, 1:4:2]
    first, second = _turns(angles).unbind(1)
    linear = second @ (torch.stack([s * t, s / t], 1)[:, :, None] * first)
    shift = normal(u[:, 9:], 0.125) * images.shape[-1] * chosen[:, 4:]
    return warp(images, torch.cat([linear, shift[:, :, None]], 2), chosen.any(1))


def _turns(angles: Float[Tensor, "b n"]) -> Float[Tensor, "b n 2 2"]:
    """Return the maps of (right, down) that turn counter-clockwise by so many radians."""
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([cos, sin, -sin, cos], -1).view(*angles.shape, 2, 2)


def recoloured(images: Images, draws: Float[Tensor, "b n"], p: Float[Tensor, ""]) -> Images:
    r"""Return images with changed brightness, contrast, luma (negated), hue and saturation.

    With v the unit vector of the grey axis, all but brightness b act on the parts of a colour along v and across it separately: contrast
    c multiplies both, the negation :math:`\nu = \pm 1` the first, saturation s and the turn by the hue h (Rodrigues) the second:

    .. math:: x \mapsto c\, \nu\, v v^T (x + b) + c\, s\, \big(\cos h\, (I - v v^T) + \sin h\, [v]_\times\big)\, x

    with b from N(0, 0.2²), log₂ c from N(0, 0.5²), log₂ s from N(0, 1), h uniform; a step that is not applied does not change colours.
    """
    u = draws.double()
    chosen = coin(u[:, 0::2], p)
    changed = chosen.any(1)
    gaussian = normal(u[:, 1::2], 1.0) * chosen
    b, c, s = 0.2 * gaussian[:, 0], torch.exp2(0.5 * gaussian[:, 1]), torch.exp2(gaussian[:, 4])
    negation = 1 - 2 * (chosen[:, 2] & coin(u[:, 5])).double()
    h = between(u[:, 7], -math.pi, math.pi) * chosen[:, 3]
    along, across, turned = _color_maps(images.device)
    grey = c * negation
    maps = _scalar(grey) * along + _scalar(c * s * h.cos()) * across + _scalar(c * s * h.sin()) * turned
    offset = _scalar(grey * b).expand(-1, 3, 1)
    pixels = torch.baddbmm(offset.to(images.dtype), maps.to(images.dtype), images.flatten(2))
    # in float32 the identity map would change the last bits of a colour
    return torch.where(changed[:, None, None, None], pixels.view(images.shape), images)


@cache
def _color_maps(device: torch.device) -> tuple[Float[Tensor, "3 3"], Float[Tensor, "3 3"], Float[Tensor, "3 3"]]:
    """Return v vᵀ, I − v vᵀ and [v]×, created once for each device, since creation copies from host to device."""
    v = 1 / math.sqrt(3)
    along = torch.full((3, 3), 1 / 3, dtype=torch.float64)
    turned = torch.tensor([[0.0, -v, v], [v, 0.0, -v], [-v, v, 0.0]], dtype=torch.float64)
    return along.to(device), (torch.eye(3, dtype=torch.float64) - along).to(device), turned.to(device)


def cut_out(images: Images, draws: Float[Tensor, "b n"], p: Float[Tensor, ""]) -> Images:
    """Return images in which a square of half their side, its middle anywhere inside, is set to zero."""
    size = images.shape[-1]
    chosen, *middle = draws.unbind(1)
    pixels = (torch.arange(size, device=draws.device) + 0.5) / size
    rows, columns = ((pixels - m[:, None]).abs() < 0.25 for m in middle)
    blank = rows[:, :, None] & columns[:, None, :] & coin(chosen, p)[:, None, None]
    return images * ~blank[:, None]


def _scalar(values: Uniform) -> Float[Tensor, "b 1 1"]:
    return values[:, None, None]


def _zero_unless(chosen: Tensor, values: Tensor) -> Tensor:
    return torch.where(chosen, values, torch.zeros_like(values))
