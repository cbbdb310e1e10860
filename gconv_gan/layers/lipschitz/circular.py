r"""Convolution on a periodic grid: spectra of small kernels, and filtering of maps channel by channel.

A circular convolution is diagonal in the discrete Fourier basis: at each frequency w of an h x w grid it multiplies the
channels by the matrix :math:`\hat A(\omega)` [O, I] (Sedghi, Gupta, Long, "The Singular Values of Convolutional Layers",
ICLR 2019). A zero-padded convolution is a restriction of a circular one on a grid enlarged by k-1.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Complex, Float
from torch import Tensor

from gconv_gan.layers.constants import constant


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
    O*I, several hundred times faster at 128 channels. The sum cancels where S is small, hence float64.
    """
    kernels, (out, _, kh, kw) = weight.double(), weight.shape
    autocorrelation = F.conv2d(kernels.reshape(1, -1, kh, kw), kernels, padding=(kh - 1, kw - 1), groups=out)[0]
    rows = _phases(grid[0], grid[0], range(1 - kh, kh), kernels.dtype, kernels.device)
    cols = _phases(grid[1], grid[1], range(1 - kw, kw), kernels.dtype, kernels.device)
    return (rows @ autocorrelation.to(rows.dtype) @ cols.T).real.clamp_min(0.0)


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


def _multiply_spectrum(z: Tensor, gain: Tensor) -> Tensor:
    # Two real maps, of images b and b + B/2, form one complex map: an even real gain does not mix them, and a complex
    # transform of two maps is faster than two real ones (1.5 times at 34 x 34, 2.5 times at 66 x 66, on CPU).
    batch, half = z.shape[0], (z.shape[0] + 1) // 2
    second = z[half:]
    if batch % 2:
        second = torch.cat([second, torch.zeros_like(z[:1])])
    with torch.autocast(z.device.type, enabled=False):
        filtered = torch.fft.ifft2(torch.fft.fft2(torch.complex(z[:half], second)) * gain)
    return torch.cat([filtered.real, filtered.imag[: batch - half]])


@constant
def _phases(frequencies: int, size: int, taps: range, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return exp(-2 pi i f t / size) for f = 0 ... frequencies-1 and the given taps t, complex, at the precision of ``dtype``."""
    f = torch.arange(frequencies, device=device)
    t = torch.arange(taps.start, taps.stop, device=device)
    angle = torch.outer(f, t).remainder(size).double() * (-2.0 * math.pi / size)
    return torch.polar(torch.ones_like(angle), angle).to(torch.promote_types(dtype, torch.complex64))
