"""The augmentations of StyleGAN2-ADA: blits, geometry and colour, each applied to an image with probability p.

Karras, Aittala, Hellsten, Laine, Lehtinen, Aila, "Training Generative Adversarial Networks with Limited Data", arXiv 2006.06676
(2020), appendix B. Up to p of about 0.8 they do not leak into the generator: an image is left alone often enough.
"""

import math
from functools import cache
from typing import NamedTuple

import torch
from jaxtyping import Float
from pydantic import NonNegativeFloat
from torch import Tensor

from gconv_gan.data.augment import reflected
from gconv_gan.data.blit import blit, mirrored, shifted
from gconv_gan.data.uniform import Uniform, between, coin, integer, log_normal, normal
from gconv_gan.data.warp import rotation, scale, shift, warp

Images = Float[Tensor, "b 3 s s"]
Matrices = Float[Tensor, "b n n"]

BLIT, GEOMETRY, COLOR, CUTOUT = 7, 11, 10, 3  # uniform numbers that each group needs


class ADAPipeline:
    """Blits, then geometry, then colour, then a cut-out; each step of a group is made with probability min(1, factor · p).

    It takes images [B, 3, S, S] in [-1, 1], uniform numbers [B, ``numbers_per_image``] and p, a number or a 0-dim tensor. All images
    pass through the same operations, whose parameters are those of the identity where a step is not made: nothing waits for a device.
    Differs from the authors' code: blits are moved pixel by pixel instead of being resampled, and see ``warp`` for the filter.

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
    """Return images scaled, turned, stretched, turned again and shifted by fractions of a pixel."""
    size = images.shape[-1]
    take = iter(draws.double().unbind(1))
    p_rotation = 1 - (1 - p).sqrt()  # so that the two turns together come with p
    chosen, s = coin(next(take), p), log_normal(next(take), 0.2)
    steps = [(chosen, scale(s, s))]
    steps.append((coin(next(take), p_rotation), rotation(between(next(take), -math.pi, math.pi))))
    chosen, s = coin(next(take), p), log_normal(next(take), 0.2)
    steps.append((chosen, scale(s, 1 / s)))
    steps.append((coin(next(take), p_rotation), rotation(between(next(take), -math.pi, math.pi))))
    steps.append((coin(next(take), p), shift(normal(next(take), 0.125) * size, normal(next(take), 0.125) * size)))
    changed, matrices = _composed(steps)
    # resampling changes an image a little where it is moved by nothing: what was not chosen stays as it is
    return torch.where(changed[:, None, None, None], warp(images, matrices), images)


def recoloured(images: Images, draws: Float[Tensor, "b n"], p: Float[Tensor, ""]) -> Images:
    """Return images with another brightness, contrast, luma (negated), hue and saturation: one affine map of RGB an image."""
    take = iter(draws.double().unbind(1))
    identity, rgb, lift, luma, _ = _color_maps(draws.device)
    chosen, b = coin(next(take), p), _scalar(normal(next(take), 0.2))
    steps = [(chosen, identity + b * lift)]
    chosen, c = coin(next(take), p), _scalar(log_normal(next(take), 0.5))
    steps.append((chosen, identity + (c - 1) * rgb))
    steps.append((coin(next(take), p) & coin(next(take)), (identity - 2 * luma).expand(len(draws), 4, 4)))
    steps.append((coin(next(take), p), _hue_rotation(between(next(take), -math.pi, math.pi))))
    chosen, s = coin(next(take), p), _scalar(log_normal(next(take), 1.0))
    steps.append((chosen, identity + (s - 1) * (rgb - luma)))
    changed, matrices = _composed(steps)
    maps = matrices.to(images.dtype)
    recolored = torch.baddbmm(maps[:, :3, 3:], maps[:, :3, :3], images.flatten(2)).view(images.shape)
    return torch.where(changed[:, None, None, None], recolored, images)


def cut_out(images: Images, draws: Float[Tensor, "b n"], p: Float[Tensor, ""]) -> Images:
    """Return images in which a square of half their side, its middle anywhere inside, is set to zero."""
    size = images.shape[-1]
    chosen, *middle = draws.unbind(1)
    pixels = (torch.arange(size, device=draws.device) + 0.5) / size
    rows, columns = ((pixels - m[:, None]).abs() < 0.25 for m in middle)
    blank = rows[:, :, None] & columns[:, None, :] & coin(chosen, p)[:, None, None]
    return images * ~blank[:, None]


class ColorMaps(NamedTuple):
    """Maps of (red, green, blue, 1): identity, projection onto the colours, addition of 1 to each, projection onto grey, [v]×."""

    identity: Float[Tensor, "4 4"]
    rgb: Float[Tensor, "4 4"]
    lift: Float[Tensor, "4 4"]
    luma: Float[Tensor, "4 4"]
    cross: Float[Tensor, "4 4"]


@cache
def _color_maps(device: torch.device) -> ColorMaps:
    """Return the maps, made once for each device: making them copies numbers to it."""
    v = 1 / math.sqrt(3)  # of the grey axis
    rows = [
        [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]],
        [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]],
        [[0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0]],
        [[1 / 3, 1 / 3, 1 / 3, 0.0], [1 / 3, 1 / 3, 1 / 3, 0.0], [1 / 3, 1 / 3, 1 / 3, 0.0], [0.0, 0.0, 0.0, 0.0]],
        [[0.0, -v, v, 0.0], [v, 0.0, -v, 0.0], [-v, v, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]],
    ]
    return ColorMaps(*torch.tensor(rows, dtype=torch.float64).to(device))


def _hue_rotation(angle: Uniform) -> Matrices:
    """Return the turn of RGB about the grey axis v: cos I + sin [v]× + (1 − cos) v vᵀ (Rodrigues)."""
    maps = _color_maps(angle.device)
    cos, sin = _scalar(angle.cos()), _scalar(angle.sin())
    return cos * maps.rgb + sin * maps.cross + (1 - cos) * maps.luma + (maps.identity - maps.rgb)


def _scalar(values: Uniform) -> Float[Tensor, "b 1 1"]:
    return values[:, None, None]


def _zero_unless(chosen: Tensor, values: Tensor) -> Tensor:
    return torch.where(chosen, values, torch.zeros_like(values))


def _composed(steps: list[tuple[Tensor, Matrices]]) -> tuple[Tensor, Matrices]:
    """Return which images any step was chosen for, and the product of each one's chosen matrices, the first acting first."""
    identity = torch.eye(steps[0][1].shape[-1], dtype=steps[0][1].dtype, device=steps[0][1].device)
    product, changed = identity.expand_as(steps[0][1]), torch.zeros_like(steps[0][0])
    for chosen, matrices in steps:
        product = torch.where(chosen[:, None, None], matrices, identity) @ product
        changed = changed | chosen
    return changed, product
