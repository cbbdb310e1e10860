"""Affine warps of images, antialiased, with derivatives of every order with respect to the images.

As in StyleGAN2-ADA (arXiv 2006.06676, appendix B) an image is enlarged twofold by a low-pass filter, sampled bilinearly, and
reduced twofold by the same filter. The filter is Lanczos' with three lobes: the wavelet of the paper (sym6) is not symmetric,
which moves an image a little when it is turned.
"""

from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from gconv_gan.data.batches.augment import reflected

LOBES = 3  # Lanczos' filter reaches 3 pixels of the small image, 6 of the large one, to either side

Images = Float[Tensor, "b c s s"]


def warp(images: Images, matrices: Float[Tensor, "b 2 3"]) -> Images:
    """Return square images moved by affine maps of the plane: the content at p goes to M p.

    ``matrices`` M act on (x, y, 1), in pixels to the right of and below the middle of the image. Outside, the image is continued by
    reflection. The matrices are inverted in their own precision.
    """
    size = images.shape[-1]
    inverse = _inverse(matrices).to(images.dtype)
    # the large image's pixels, with the margin that the reducing filter reads
    border = 2 * LOBES - 1
    positions = (torch.arange(-border, 2 * size + border, device=images.device, dtype=images.dtype) - (size - 0.5)) / 2
    x = inverse[:, 0, 0, None, None] * positions + inverse[:, 0, 1, None, None] * positions[:, None] + inverse[:, 0, 2, None, None]
    y = inverse[:, 1, 0, None, None] * positions + inverse[:, 1, 1, None, None] * positions[:, None] + inverse[:, 1, 2, None, None]
    middle = (size - 1) / 2
    columns, rows = (2 * _folded(p + middle, size) + 0.5 for p in (x, y))  # pixel i of the image lies at 2 i + ½ of the large one
    return halve(_bilinear(double(images), rows, columns))


def _inverse(matrices: Float[Tensor, "b 2 3"]) -> Float[Tensor, "b 2 3"]:
    """Return the inverse maps; ``torch.linalg.inv`` reads the device's error flag on the host."""
    (a, b, x), (c, d, y) = (row.unbind(1) for row in matrices.unbind(1))
    rows = torch.stack([torch.stack([d, -b, b * y - d * x], 1), torch.stack([-c, a, c * x - a * y], 1)], 1)
    return rows / (a * d - b * c)[:, None, None]


def _folded(position: Tensor, size: int) -> Tensor:
    """Return positions reflected into [0, size - 1]."""
    period = 2.0 * (size - 1)
    folded = position.remainder(period)
    return torch.minimum(folded, period - folded)


def _bilinear(images: Images, rows: Float[Tensor, "b h w"], columns: Float[Tensor, "b h w"]) -> Float[Tensor, "b c h w"]:
    """Return the images at fractional rows and columns inside them, by four gathers (``grid_sample`` has no second derivative)."""
    b, c, height, width = images.shape
    top, left = rows.floor().clamp(max=height - 2), columns.floor().clamp(max=width - 2)
    down, right = (rows - top)[:, None], (columns - left)[:, None]
    corner = (top * width + left).long().flatten(1)[:, None].expand(b, c, -1)
    flat = images.flatten(2)

    def at(offset: int) -> Tensor:
        return flat.gather(2, corner + offset).view(b, c, *rows.shape[1:])

    return torch.lerp(torch.lerp(at(0), at(1), right), torch.lerp(at(width), at(width + 1), right), down)


def double(images: Images) -> Float[Tensor, "b c t t"]:
    """Return images of twice the side; pixel i lies at 2 i + ½ of the result."""
    return _along_both_axes(images, _doubling(images.shape[-1], images.dtype, images.device))


def halve(images: Images) -> Float[Tensor, "b c t t"]:
    """Return images [.., 2 S + 10] reduced to [.., S]: the filter removes five pixels at each end."""
    return _along_both_axes(images, _halving(images.shape[-1], images.dtype, images.device))


def _along_both_axes(images: Images, matrix: Float[Tensor, "t s"]) -> Float[Tensor, "b c t t"]:
    return ((images @ matrix.mT).mT @ matrix.mT).mT


@cache
def _doubling(size: int, dtype: torch.dtype, device: torch.device) -> Float[Tensor, "t s"]:
    """Return the matrix of the enlarging filter, the borders of the image mirrored."""
    taps = _unit(torch.arange(-LOBES + 0.25, LOBES, dtype=torch.float64))  # a quarter before pixel i: neighbours i - 3 … i + 2
    places = torch.arange(size)[:, None] + torch.arange(-LOBES, LOBES)
    matrix = torch.zeros(size, 2, size, dtype=torch.float64)
    matrix[:, 0].scatter_add_(1, reflected(places, size), taps.expand(size, -1))
    # a quarter after it: the mirror of that filter, neighbours i - 2 … i + 3
    matrix[:, 1].scatter_add_(1, reflected(places + 1, size), taps.flip(0).expand(size, -1))
    return matrix.flatten(0, 1).to(device, dtype)


@cache
def _halving(size: int, dtype: torch.dtype, device: torch.device) -> Float[Tensor, "t s"]:
    """Return the matrix of the reducing filter."""
    taps = _unit((torch.arange(4 * LOBES, dtype=torch.float64) - (2 * LOBES - 0.5)) / 2)
    reduced = (size - 4 * LOBES) // 2 + 1
    matrix = torch.zeros(reduced, size, dtype=torch.float64)
    places = 2 * torch.arange(reduced)[:, None] + torch.arange(4 * LOBES)
    return matrix.scatter_(1, places, taps.expand(reduced, -1)).to(device, dtype)


def _unit(positions: Float[Tensor, " t"]) -> Float[Tensor, " t"]:
    """Return Lanczos' filter sinc(t) sinc(t/3) at ``positions``, with sum 1."""
    values = torch.sinc(positions) * torch.sinc(positions / LOBES) * (positions.abs() < LOBES)
    return values / values.sum()
