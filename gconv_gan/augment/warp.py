"""Affine warps of images, antialiased, with derivatives of every order with respect to the images.

As in StyleGAN2-ADA (arXiv 2006.06676, appendix B) an image is enlarged twofold by a low-pass filter, sampled bilinearly, and
reduced twofold by the same filter. The filter is Lanczos' with three lobes: the wavelet of the paper (sym6) is not symmetric,
which moves an image a little when it is turned.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gconv_gan.data.batches.augment import reflected

LOBES = 3  # Lanczos' filter reaches 3 pixels of the small image, 6 of the large one, to either side
BORDER = 2 * LOBES - 1  # pixels of the large image that the reducing filter reads beyond it

Images = Float[Tensor, "b c s s"]


def warp(images: Images, matrices: Float[Tensor, "b 2 3"], chosen: Bool[Tensor, " b"]) -> Images:
    """Return square images of which those ``chosen`` are moved by affine maps of the plane: the content at p goes to M p.

    ``matrices`` M act on (x, y, 1), in pixels to the right of and below the middle of the image. Outside, the image is continued by
    reflection. The matrices are inverted in their own precision. Images that are not chosen are returned as they are: resampling
    changes an image even for the identity map.

    It is a single operation, whose form depends on the device. On a CPU, which need not wait for itself, the chosen images alone are
    moved; on other devices all are, so that no shape depends on a value.
    """
    warped: Tensor = _warped(images, matrices, chosen)
    return warped


def _moved(images: Images, matrices: Float[Tensor, "b 2 3"]) -> Images:
    """Return W images, linear in the images."""
    rows, columns = _sources(matrices, images.shape[-1], images.dtype)
    return halve(_bilinear(double(images), rows, columns))


def _moved_transposed(images: Images, matrices: Float[Tensor, "b 2 3"]) -> Images:
    """Return Wᵀ images: the gradient of ``_moved``."""
    size = images.shape[-1]
    rows, columns = _sources(matrices, size, images.dtype)
    large = _along_both_axes(images, _halving(2 * size + 2 * BORDER, images.dtype, images.device).mT)
    return _along_both_axes(_spread(large, rows, columns, 2 * size), _doubling(size, images.dtype, images.device).mT)


def _sources(matrices: Float[Tensor, "b 2 3"], size: int, dtype: torch.dtype) -> tuple[Float[Tensor, "b t t"], Float[Tensor, "b t t"]]:
    """Return the fractional rows and columns of the enlarged image that the pixels of the moved, enlarged image are read from."""
    inverse = _inverse(matrices).to(dtype)
    # the large image's pixels, with the margin that the reducing filter reads
    positions = (torch.arange(-BORDER, 2 * size + BORDER, device=inverse.device, dtype=dtype) - (size - 0.5)) / 2
    x = inverse[:, 0, 0, None, None] * positions + inverse[:, 0, 1, None, None] * positions[:, None] + inverse[:, 0, 2, None, None]
    y = inverse[:, 1, 0, None, None] * positions + inverse[:, 1, 1, None, None] * positions[:, None] + inverse[:, 1, 2, None, None]
    middle = (size - 1) / 2
    columns, rows = (2 * _folded(p + middle, size) + 0.5 for p in (x, y))  # pixel i of the image lies at 2 i + ½ of the large one
    return rows, columns


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
    """Return the images at fractional rows and columns inside them, by four gathers."""
    b, c, width = images.shape[:3]
    corner, right, down = _corners(rows, columns, width)
    corner = corner.expand(b, c, -1)
    flat = images.flatten(2)

    def at(offset: int) -> Tensor:
        return flat.gather(2, corner + offset).view(b, c, *rows.shape[1:])

    return torch.lerp(torch.lerp(at(0), at(1), right), torch.lerp(at(width), at(width + 1), right), down)


def _spread(
    values: Float[Tensor, "b c h w"], rows: Float[Tensor, "b h w"], columns: Float[Tensor, "b h w"], size: int
) -> Float[Tensor, "b c s s"]:
    """Return images [.., size, size] to which each value is added at its fractional row and column: the gradient of ``_bilinear``."""
    b, c = values.shape[:2]
    corner, right, down = _corners(rows, columns, size)
    corner = corner.expand(b, c, -1)
    images = values.new_zeros(b, c, size * size)
    below = values * down
    for offset, row in ((0, values - below), (size, below)):
        beside = row * right
        images.scatter_add_(2, corner + offset, (row - beside).flatten(2))
        images.scatter_add_(2, corner + (offset + 1), beside.flatten(2))
    return images.view(b, c, size, size)


def _corners(rows: Tensor, columns: Tensor, size: int) -> tuple[Int[Tensor, "b 1 n"], Float[Tensor, "b 1 h w"], Float[Tensor, "b 1 h w"]]:
    """Return the pixel to the upper left of each place, counted by rows, and the distances to it to the right and down."""
    top, left = rows.floor().clamp(max=size - 2), columns.floor().clamp(max=size - 2)
    return (top * size + left).long().flatten(1)[:, None], (columns - left)[:, None], (rows - top)[:, None]


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


# ---- the operation, its gradient, and the gradient of that, which is the operation again ----------------------------------


def _of_all(move: Callable[[Tensor, Tensor], Tensor], images: Tensor, matrices: Tensor, chosen: Tensor) -> Tensor:
    return torch.where(chosen[:, None, None, None], move(images, matrices), images)


def _of_chosen(move: Callable[[Tensor, Tensor], Tensor], images: Tensor, matrices: Tensor, chosen: Tensor) -> Tensor:
    index = chosen.nonzero().squeeze(1)
    return images.index_copy(0, index, move(images[index], matrices[index])) if len(index) else images.clone()


def _operation(name: str, move: Callable[[Tensor, Tensor], Tensor]) -> Any:
    schema = "(Tensor images, Tensor matrices, Tensor chosen) -> Tensor"
    operation = torch.library.custom_op(f"gconv_gan::{name}", partial(_of_all, move), mutates_args=(), schema=schema)
    operation.register_kernel("cpu", partial(_of_chosen, move))
    return operation


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[1:])


_warped, _warped_transposed = _operation("warped", _moved), _operation("warped_transposed", _moved_transposed)
for _one, _other in ((_warped, _warped_transposed), (_warped_transposed, _warped)):
    _one.register_autograd(lambda ctx, gradient, other=_other: (other(gradient, *ctx.saved_tensors), None, None), setup_context=_keep)
