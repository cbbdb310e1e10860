r"""Convolution on a periodic grid: spectra of small kernels, and filtering of maps channel by channel.

A circular convolution is diagonal in the discrete Fourier basis: at each frequency w of an h x w grid it multiplies the
channels by the matrix :math:`\hat A(\omega)` [O, I] (Sedghi, Gupta, Long, "The Singular Values of Convolutional Layers",
ICLR 2019). A zero-padded convolution is a restriction of a circular one on a grid enlarged by k-1.
"""

import math

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from gconv_gan.layers.constants import constant
from gconv_gan.runtime.precision import float32_arithmetic


def kernel_spectrum(weight: Float[Tensor, "o i kh kw"], grid: tuple[int, int], *, half: bool = True) -> Complex[Tensor, "h w o i"]:
    r"""Return :math:`\hat A(\omega)`, the 2-D DFT of each kernel on ``grid`` (h, w), as one O x I matrix per frequency.

    ``half`` keeps the columns 0 ... w//2 of the grid alone: the others are complex conjugates. Kernels larger than the grid
    wrap around it. The result has the precision of ``weight``.
    """
    columns = grid[1] // 2 + 1 if half else grid[1]
    rows = _phases(grid[0], grid[0], range(weight.shape[2]), weight.dtype, weight.device)
    cols = _phases(columns, grid[1], range(weight.shape[3]), weight.dtype, weight.device)
    return torch.einsum("hy,oiyx,wx->hwoi", rows, weight.to(rows.dtype), cols)


def power_spectrum(weight: Float[Tensor, "o i kh kw"], grid: tuple[int, int]) -> Float[Tensor, "o h w"]:
    r"""Return :math:`S_c(\omega) = \sum_i |\hat A_{c,i}(\omega)|^2` on ``grid``, in float64 and at least zero.

    It is the DFT of the kernels' autocorrelation summed over i, of (2k-1) x (2k-1) taps: O small transforms in the place of
    O*I. The sum cancels where S is small, hence float64.
    """
    kernels, (kh, kw) = weight.double().flatten(2), weight.shape[2:]
    taps = kernels.mT @ kernels  # one product in place of a convolution with O groups
    autocorrelation = (taps.flatten(1) @ _displacements(kh, kw, weight.device)).view(-1, 2 * kh - 1, 2 * kw - 1)
    rows = _phases(grid[0], grid[0], range(1 - kh, kh), kernels.dtype, kernels.device)
    cols = _phases(grid[1], grid[1], range(1 - kw, kw), kernels.dtype, kernels.device)
    return (rows @ autocorrelation.to(rows.dtype) @ cols.T).real.clamp_min(0.0)


@constant
def _displacements(kh: int, kw: int, device: torch.device) -> Tensor:
    """Return the 0-1 matrix [(k k)², (2k-1)²] that sums the products of two taps with the same displacement, in float64."""
    place = torch.arange(kh * kw, device=device)
    row, column = place // kw, place % kw
    displacement = (row[:, None] - row + kh - 1) * (2 * kw - 1) + column[:, None] - column + kw - 1
    return (displacement.flatten()[:, None] == torch.arange((2 * kh - 1) * (2 * kw - 1), device=device)).double()


def zero_phase_filter(z: Float[Tensor, "b c h w"], gain: Float[Tensor, "c h w"]) -> Float[Tensor, "b c h w"]:
    """Return z [B, C, h, w] with every frequency of channel c multiplied by the real number ``gain[c]`` [h, w].

    ``gain`` must be even (the same at w and -w), as every power spectrum is; then the result is real and the filter is its own
    adjoint, so its backward pass is the filter again. Both must have the same dtype, float32 or float64.
    """
    if gain.requires_grad:
        return _multiply_spectrum(z, gain)
    filtered: Tensor = _SelfAdjointFilter.apply(z, gain)
    return filtered


class _SelfAdjointFilter(torch.autograd.Function):
    """``_multiply_spectrum`` for a constant gain; autograd's own derivative of the transforms costs about twice as much."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, z: Tensor, gain: Tensor) -> Tensor:
        ctx.save_for_backward(gain)
        return _multiply_spectrum(z, gain)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> tuple[Tensor, None]:
        (gain,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return zero_phase_filter(grads[0], gain), None


MATRIX_SIDE = 48
"""Largest side of a grid on which maps are transformed by matrices, 4 n multiply-adds a pixel.

Measured on an AVX-512 core: 0.7 to 1.0 of the time of transforms in n log n at 34 x 34, 1.7 of it at 66 x 66.
"""


def _multiply_spectrum(z: Tensor, gain: Tensor) -> Tensor:
    with torch.autocast(z.device.type, enabled=False), float32_arithmetic(z.device):
        return _by_matrices(z, gain) if max(gain.shape[1:]) <= MATRIX_SIDE else _by_transforms(z, gain)


def _by_transforms(z: Tensor, gain: Tensor) -> Tensor:
    # Two real maps, of images b and b + B/2, form one complex map: an even real gain does not mix them, and a complex
    # transform of two maps is faster than two real ones (1.5 times at 34 x 34, 2.5 times at 66 x 66, on CPU).
    batch, half = z.shape[0], (z.shape[0] + 1) // 2
    second = z[half:]
    if batch % 2:
        second = torch.cat([second, torch.zeros_like(z[:1])])
    filtered = torch.fft.ifft2(torch.fft.fft2(torch.complex(z[:half], second)) * gain)
    return torch.cat([filtered.real, filtered.imag[: batch - half]])


def _by_matrices(z: Tensor, gain: Tensor) -> Tensor:
    r"""Filter in the real basis of products of cosines and sines, whose transform is a product with a matrix along each axis.

    With coefficients cc, cs, sc, ss at the frequencies k and l of the axes, p = (V(k, l) + V(k, -l))/2 and q = (V(k, -l) - V(k, l))/2:

    .. math:: cc' = p\,cc + q\,ss, \quad ss' = p\,ss + q\,cc, \quad sc' = p\,sc - q\,cs, \quad cs' = p\,cs - q\,sc

    All products are along an axis that channels_last maps are not transposed for. The result is in channels_last order.
    """
    batch, channels, height, width = z.shape
    rows, columns = _real_basis(height, z.dtype, z.device), _real_basis(width, z.dtype, z.device)
    same, mirrored = _products(gain)
    y = z.permute(0, 2, 3, 1).reshape(batch, height, width * channels)
    y = torch.matmul(columns, torch.matmul(rows, y).view(batch, height, width, channels))
    result = y * same
    (row_cos, row_sin), (column_cos, column_sin) = _pairs(height), _pairs(width)
    for row, other_row in ((row_cos, row_sin), (row_sin, row_cos)):
        for column, other_column in ((column_cos, column_sin), (column_sin, column_cos)):
            sign = 1 if (row == row_cos) == (column == column_cos) else -1
            result[:, row, column].addcmul_(y[:, other_row, other_column], mirrored, value=sign)
    result = torch.matmul(columns.mT, result).view(batch, height, width * channels)
    filtered: Tensor = torch.matmul(rows.mT, result).view(batch, height, width, channels).permute(0, 3, 1, 2)
    return filtered


def _pairs(size: int) -> tuple[slice, slice]:
    """Return the places of the cosines that have a sine, and of the sines, in the rows of ``_real_basis``."""
    frequencies = (size - 1) // 2
    return slice(1, 1 + frequencies), slice(size - frequencies, size)


def _products(gain: Tensor) -> tuple[Tensor, Tensor]:
    """Return p [h, w, C] for all coefficients and q for those of pairs, see ``_by_matrices``."""
    gain = gain.permute(1, 2, 0)
    rows, columns = (_frequencies(size, gain.device) for size in gain.shape[:2])
    at, mirrored = gain[rows[:, None], columns], gain[rows[:, None], -columns % gain.shape[1]]
    pair = tuple(_pairs(size)[0] for size in gain.shape[:2])
    return (at + mirrored) / 2, ((mirrored - at) / 2)[pair]


@constant
def _frequencies(size: int, device: torch.device) -> Tensor:
    """Return the frequency of each row of ``_real_basis``."""
    return torch.cat([torch.arange(size // 2 + 1, device=device), torch.arange(1, (size + 1) // 2, device=device)])


@constant
def _real_basis(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the orthogonal matrix [n, n] whose rows are cosines of the frequencies 0 ... n/2, then sines of those that have one."""
    frequencies = _frequencies(size, device)
    angle = torch.outer(frequencies, torch.arange(size, device=device)).remainder(size).double() * (2.0 * math.pi / size)
    cosines = size // 2 + 1
    basis = torch.cat([angle[:cosines].cos(), angle[cosines:].sin()])
    matrix: Tensor = (basis / basis.norm(dim=1, keepdim=True)).to(dtype)
    return matrix


@constant
def _phases(frequencies: int, size: int, taps: range, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return exp(-2 pi i f t / size) for f = 0 ... frequencies-1 and the given taps t, complex, at the precision of ``dtype``."""
    f = torch.arange(frequencies, device=device)
    t = torch.arange(taps.start, taps.stop, device=device)
    angle = torch.outer(f, t).remainder(size).double() * (-2.0 * math.pi / size)
    return torch.polar(torch.ones_like(angle), angle).to(torch.promote_types(dtype, torch.complex64))
