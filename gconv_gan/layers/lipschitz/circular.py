r"""Convolution on a periodic grid: spectra of small kernels, and filtering of maps channel by channel.

A circular convolution is diagonal in the discrete Fourier basis: at each frequency w of an h x w grid it multiplies the
channels by the matrix :math:`\hat A(\omega)` [O, I] (Sedghi, Gupta, Long, "The Singular Values of Convolutional Layers",
ICLR 2019). A zero-padded convolution is a restriction of a circular one on a grid enlarged by k-1.
"""

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Complex, Float
from torch import Tensor

from gconv_gan.layers.constants import constant
from gconv_gan.runtime.precision import float32_arithmetic

Matrices = tuple[Tensor, ...]


def kernel_spectrum(weight: Float[Tensor, "o i kh kw"], grid: tuple[int, int], *, half: bool = True) -> Complex[Tensor, "h w o i"]:
    r"""Return :math:`\hat A(\omega)`, the 2-D DFT of each kernel on ``grid`` (h, w), as one O x I matrix per frequency.

    ``half`` keeps the columns 0 ... w//2 of the grid alone: the others are complex conjugates. Kernels larger than the grid
    wrap around it. The result has the precision of ``weight``.
    """
    columns = grid[1] // 2 + 1 if half else grid[1]
    rows = _phases(grid[0], grid[0], range(weight.shape[2]), weight.dtype, weight.device)
    cols = _phases(columns, grid[1], range(weight.shape[3]), weight.dtype, weight.device)
    return torch.einsum("hy,oiyx,wx->hwoi", rows, weight.to(rows.dtype), cols)


def power_spectrum(weight: Float[Tensor, "o i kh kw"], grid: tuple[int, int], *, at_least: float = 0.0) -> Float[Tensor, "o h w"]:
    r"""Return :math:`S_c(\omega) = \sum_i |\hat A_{c,i}(\omega)|^2` on ``grid``, in float64; smaller values become ``at_least``.

    It is the DFT of the kernels' autocorrelation summed over i, of (2k-1) x (2k-1) taps: O small transforms in the place of
    O*I. The sum cancels where S is small, hence float64.
    """
    kernels, (kh, kw) = weight.double().flatten(2), weight.shape[2:]
    taps = kernels.mT @ kernels  # one product in place of a convolution with O groups
    autocorrelation = taps.flatten(1) @ _displacements(kh, kw, weight.device)
    if max(grid) <= MATRIX_SIDE:
        power = (_cosines((2 * kh - 1, 2 * kw - 1), grid, weight.device) @ autocorrelation.mT).view(*grid, -1).permute(2, 0, 1)
    else:
        rows = _phases(grid[0], grid[0], range(1 - kh, kh), kernels.dtype, kernels.device)
        cols = _phases(grid[1], grid[1], range(1 - kw, kw), kernels.dtype, kernels.device)
        power = (rows @ autocorrelation.view(-1, 2 * kh - 1, 2 * kw - 1).to(rows.dtype) @ cols.T).real
    return torch.clamp_min(power, at_least)


@constant
def _cosines(taps: tuple[int, int], grid: tuple[int, int], device: torch.device) -> Tensor:
    """Return the matrix [h w, taps] of the DFT of an even function of (2k-1) x (2k-1) taps around 0, in float64."""
    turns_of = []
    for size, count in zip(grid, taps, strict=True):
        k, tap = torch.arange(size, device=device), torch.arange(-(count // 2), count // 2 + 1, device=device)
        turns_of.append(torch.outer(k, tap).remainder(size).double() / size)
    rows, columns = turns_of
    turns = rows[:, None, :, None] + columns[:, None]
    return (2.0 * math.pi * turns).cos().reshape(grid[0] * grid[1], -1)


@constant
def _displacements(kh: int, kw: int, device: torch.device) -> Tensor:
    """Return the 0-1 matrix [(k k)², (2k-1)²] that sums the products of two taps with the same displacement, in float64."""
    place = torch.arange(kh * kw, device=device)
    row, column = place // kw, place % kw
    displacement = (row[:, None] - row + kh - 1) * (2 * kw - 1) + column[:, None] - column + kw - 1
    return (displacement.flatten()[:, None] == torch.arange((2 * kh - 1) * (2 * kw - 1), device=device)).double()


class Window(NamedTuple):
    """What is kept of a filtered map: ``margin`` rows and columns less at each side, and of the rest 2 x 2 averages with ``pool``."""

    margin: tuple[int, int] = (0, 0)
    pool: bool = False

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width of the part that is kept."""
        (top, left), share = self.margin, 2 if self.pool else 1
        return (height - 2 * top) // share, (width - 2 * left) // share

    def of(self, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
        """Return that part of maps."""
        (top, left), (height, width) = self.margin, maps.shape[2:]
        kept = maps[:, :, top : height - top, left : width - left]
        return F.avg_pool2d(kept, 2) if self.pool else kept


WHOLE = Window()


def zero_phase_filter(z: Float[Tensor, "b c h w"], gain: Float[Tensor, "c h w"], window: Window = WHOLE) -> Float[Tensor, "b c h2 w2"]:
    """Return a window of z [B, C, h, w] with every frequency of channel c multiplied by the real number ``gain[c]`` [h, w].

    ``gain`` must be even (the same at w and -w), as every power spectrum is; then the result is real and the filter is its own
    adjoint, so its backward pass is the filter again. Both must have the same dtype, float32 or float64.
    """
    if max(gain.shape[1:]) > MATRIX_SIDE:
        whole: Tensor = _by_transforms(z, gain) if gain.requires_grad else _SelfAdjointFilter.apply(z, gain)
        return window.of(whole)
    places = tuple(zip(gain.shape[1:], window.margin, strict=True))
    axes = (places,) if few_products(z) else tuple((place,) for place in places)
    synthesis = tuple(_hartley(axis, window.pool, z.dtype, z.device) for axis in axes)
    analysis = tuple(_hartley(tuple((size, 0) for size, _ in axis), False, z.dtype, z.device) for axis in axes)
    size = window.size(*z.shape[2:])
    if gain.requires_grad:
        return _by_matrices(z, gain, analysis, synthesis, size)
    filtered: Tensor = _MatrixFilter.apply(z, gain, analysis, synthesis, size)
    return filtered


def few_products(z: Tensor) -> bool:
    """Return whether one matrix transforms both axes of z, in about n times the operations but half of the products: not on a CPU."""
    return z.device.type != "cpu" and z[0, 0].numel() <= FLAT_GRID


class _SelfAdjointFilter(torch.autograd.Function):
    """``_by_transforms`` for a constant gain; autograd's own derivative of the transforms costs about twice as much."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, z: Tensor, gain: Tensor) -> Tensor:
        ctx.save_for_backward(gain)
        return _by_transforms(z, gain)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> tuple[Tensor, None]:
        (gain,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return zero_phase_filter(grads[0], gain), None


class _MatrixFilter(torch.autograd.Function):
    """``_by_matrices`` for a constant gain: its adjoint has the transposed matrices in the opposite order."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, gain: Tensor, analysis: Matrices, synthesis: Matrices, size: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(gain)
        ctx.matrices, ctx.size = (analysis, synthesis), (z.shape[2], z.shape[3])
        return _by_matrices(z, gain, analysis, synthesis, size)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        analysis, synthesis = (tuple(matrix.mT for matrix in matrices) for matrices in ctx.matrices)
        return _MatrixFilter.apply(grads[0], *ctx.saved_tensors, synthesis, analysis, ctx.size), None, None, None, None


MATRIX_SIDE = 48
"""Largest side of a grid on which maps are transformed by matrices, 4 n multiply-adds a pixel.

Measured on an AVX-512 core: 0.7 to 1.0 of the time of transforms in n log n at 34 x 34, 1.7 of it at 66 x 66.
"""
FLAT_GRID = 400
"""Largest number of pixels of a grid that one matrix transforms."""
CACHE_BYTES = 1 << 20
"""Bytes of maps that are filtered at a time on a CPU, in its cache."""


def _by_transforms(z: Tensor, gain: Tensor) -> Tensor:
    # Two real maps, of images b and b + B/2, form one complex map: an even real gain does not mix them, and a complex
    # transform of two maps is faster than two real ones (1.5 times at 34 x 34, 2.5 times at 66 x 66, on CPU).
    batch, half = z.shape[0], (z.shape[0] + 1) // 2
    second = z[half:]
    if batch % 2:
        second = torch.cat([second, torch.zeros_like(z[:1])])
    with torch.autocast(z.device.type, enabled=False):
        filtered = torch.fft.ifft2(torch.fft.fft2(torch.complex(z[:half], second)) * gain)
    return torch.cat([filtered.real, filtered.imag[: batch - half]])


def _by_matrices(z: Tensor, gain: Tensor, analysis: Matrices, synthesis: Matrices, size: tuple[int, int]) -> Tensor:
    r"""Filter in the basis of :math:`\mathrm{cas}\,x = \cos x + \sin x`, in which the transform of a real map is real.

    In the basis cas(kx + ly), of one matrix for both axes, an even gain V multiplies each coefficient. In cas(kx) cas(ly), of one matrix an
    axis, the coefficients T of opposite frequencies mix, with p = (V(k, l) + V(k, -l))/2 and q = (V(k, -l) - V(k, l))/2:

    .. math:: T'(k, l) = p\,T(k, l) + q\,T(-k, -l)

    All products are along an axis that channels_last maps are not transposed for. The result is in channels_last order.
    """
    maps, gain = z.permute(0, 2, 3, 1), gain.permute(1, 2, 0)
    factors: tuple[Tensor, ...] = (gain.flatten(0, 1),)
    if len(analysis) == 2:
        rows, columns = (_negatives(size, gain.device) for size in gain.shape[:2])
        even = torch.lerp(gain, gain.index_select(1, columns), 0.5)
        factors = even, even - gain, rows[:, None], columns
    with torch.autocast(z.device.type, enabled=False), float32_arithmetic(z.device):
        if z.device.type != "cpu" or torch.is_grad_enabled() or torch.compiler.is_compiling():
            return _filtered(maps, factors, analysis, synthesis, size).permute(0, 3, 1, 2)
        filtered = maps.new_empty(len(z), *size, maps.shape[3])
        step = max(1, CACHE_BYTES // max(1, maps[0].nbytes))
        for part in (slice(first, first + step) for first in range(0, len(z), step)):
            filtered[part] = _filtered(maps[part], factors, analysis, synthesis, size)
        return filtered.permute(0, 3, 1, 2)


def _filtered(maps: Tensor, factors: tuple[Tensor, ...], analysis: Matrices, synthesis: Matrices, size: tuple[int, int]) -> Tensor:
    """Return maps [b, h, w, C] filtered by the ``factors`` of their coefficients, as maps of ``size``."""
    if len(analysis) == 1:
        flat = synthesis[0] @ (analysis[0] @ maps.flatten(1, 2) * factors[0])
        return flat.view(len(maps), *size, -1)
    even, odd, rows, columns = factors
    coefficients = _along_both(maps, analysis)
    return _along_both(torch.addcmul(coefficients * even, coefficients[:, rows, columns], odd), synthesis)


def _along_both(maps: Tensor, matrices: Matrices) -> Tensor:
    batch, height, width, channels = maps.shape
    rows, columns = matrices
    y = rows @ maps.reshape(batch, height, width * channels)
    return columns @ y.view(batch, -1, width, channels)


@constant
def _negatives(size: int, device: torch.device) -> Tensor:
    """Return the place of frequency -k for each k."""
    return -torch.arange(size, device=device) % size


@constant
def _hartley(axes: tuple[tuple[int, int], ...], pool: bool, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the symmetric matrix to and from coefficients of one axis or two, of the window of (size, margin) of each."""
    turns, kept = torch.zeros(1, 1, device=device, dtype=torch.float64), torch.ones(1, 1, device=device, dtype=torch.float64)
    for size, margin in axes:
        k = torch.arange(size, device=device)
        turn = torch.outer(k, k).remainder(size).double() / size
        turns = (turns[:, None, :, None] + turn[:, None]).reshape(len(turns) * size, -1)
        kept = torch.kron(kept, _kept(size, margin, pool=pool, device=device))
    basis = math.sqrt(2.0 / len(turns)) * (2.0 * math.pi * turns - math.pi / 4).cos()  # cos x + sin x = √2 cos(x - π/4)
    return (kept @ basis).to(dtype)


def _kept(size: int, margin: int, *, pool: bool, device: torch.device) -> Tensor:
    """Return the matrix [m, n] that keeps a window of n pixels, in float64."""
    kept = torch.eye(size, dtype=torch.float64, device=device)[margin : size - margin]
    return kept[: len(kept) // 2 * 2].view(-1, 2, size).mean(1) if pool else kept


@constant
def _phases(frequencies: int, size: int, taps: range, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return exp(-2 pi i f t / size) for f = 0 ... frequencies-1 and the given taps t, complex, at the precision of ``dtype``."""
    f = torch.arange(frequencies, device=device)
    t = torch.arange(taps.start, taps.stop, device=device)
    angle = torch.outer(f, t).remainder(size).double() * (-2.0 * math.pi / size)
    return torch.polar(torch.ones_like(angle), angle).to(torch.promote_types(dtype, torch.complex64))
