"""A convolution with a gated dictionary of filters, combined by a matrix: GConv's cheap form.

The kernel of sample b is W_b = Mix diag(g_b) D, which is never built: D * x is one ordinary convolution for the whole batch,
and the gates multiply the matrix instead of the feature maps:

    y_b = (Mix diag(g_b)) (D * x_b)

is one batched product of [O, N] with [N, S]. Compared with gates on the maps, forward and backward together save two
passes over the maps and one stored copy of N S numbers per sample. On a CPU, where a 1x1 convolution with one matrix for all samples
takes half of the time of a batched product, the gates multiply the maps.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gconv_gan.layers.dynamic.per_sample_conv import PLAIN, Geometry
from gconv_gan.layers.resample import at_low_resolution, fused_side

ONEDNN = (2, 2)
"""Dilation of a 1x1 convolution, where it has no effect: torch gives dilated convolutions to oneDNN at every batch size.

On one thread and below 16 images it computes others in MKL, which takes twice as long where MKL has no AVX-512 code for the processor.
"""
CACHE_BYTES = 1 << 21
"""Bytes of maps that are worked on at a time on a CPU; their other operands take as many again."""


def dictionary_conv2d(
    x: Float[Tensor, "b c h w"],
    dictionary: Float[Tensor, "n i kh kw"],
    mix: Float[Tensor, "o n"],
    gates: Float[Tensor, "m n"],
    bias: Float[Tensor, " o"] | None = None,
    *,
    filter_bias: Float[Tensor, " n"] | None = None,
    geometry: Geometry = PLAIN,
) -> Float[Tensor, "b o h2 w2"]:
    r"""Return x filtered with a dictionary, the N results gated per sample and combined: [B, O, H', W'].

    .. math:: y_b = \mathrm{Mix}\,\big(g_b \odot (D * x_b + \beta_D)\big) + \beta

    Args:
        x: images [B, C, H, W].
        dictionary: N filters D [N, C/groups, k, k].
        mix: [O, N].
        gates: [B, N], or [1, N] shared by the batch.
        bias: :math:`\beta` [O].
        filter_bias: :math:`\beta_D` [N], gated like the filters: the bias becomes a function of the gates.
        geometry: padding, stride, dilation, groups, padding mode, fused resampling; they belong to D.

    Raises:
        ValueError: for gates of another batch size than x, or resampling that cannot be fused.

    """
    kernel_size = (dictionary.shape[2], dictionary.shape[3])
    geometry.check(kernel_size)
    if gates.shape[0] not in (1, x.shape[0]):
        raise ValueError(f"gates of {gates.shape[0]} samples do not fit {x.shape[0]} images")
    if kernel_size == (1, 1) and geometry.resample != "none":
        resample, geometry = geometry.resample, geometry.without_resampling()
        return at_low_resolution(lambda low: _gated(low, dictionary, mix, gates, bias, filter_bias, geometry), x, resample)
    return _gated(x, dictionary, mix, gates, bias, filter_bias, geometry)


def _gated(
    x: Tensor, dictionary: Tensor, mix: Tensor, gates: Tensor, bias: Tensor | None, filter_bias: Tensor | None, geometry: Geometry
) -> Tensor:
    if gates.shape[0] == 1 and not torch.is_grad_enabled() and folding_pays(x.shape, dictionary.shape, mix.shape[0], geometry):
        return _folded(x, dictionary, _gated_mix(mix, gates, torch.promote_types(mix.dtype, torch.float32))[0], bias, filter_bias, geometry)
    filtered = geometry.conv(x, dictionary, filter_bias)
    if gates.shape[0] == 1:
        return F.conv2d(filtered, _gated_mix(mix, gates, filtered.dtype)[0][:, :, None, None], bias)
    if torch.is_grad_enabled() and filtered.requires_grad and not torch.compiler.is_compiling():
        y: Tensor = _Mixed.apply(filtered, mix, gates, bias)
        return y
    return mixed(filtered, mix, gates, bias)


def mixed(filtered: Tensor, mix: Tensor, gates: Tensor, bias: Tensor | None) -> Tensor:
    """Return (Mix diag(g_b)) f_b + bias for every sample b of the filtered maps f, in their memory format."""
    if _dense(filtered, mix):
        gated, weight = filtered * gates.to(filtered.dtype)[:, :, None, None], mix.to(filtered.dtype)[:, :, None, None]
        return F.conv2d(gated, weight, bias, dilation=ONEDNN)
    gated_mix, (batch, _, height, width) = _gated_mix(mix, gates, filtered.dtype), filtered.shape
    if _channels_last(filtered):
        y = _affine(bias, _pixels(filtered), gated_mix.mT)
        return y.view(batch, height, width, -1).permute(0, 3, 1, 2)
    return _affine(None if bias is None else bias[:, None], gated_mix, filtered.flatten(2)).view(batch, -1, height, width)


def _dense(filtered: Tensor, mix: Tensor) -> bool:
    """Return whether the gates multiply the maps; in half precision the products would be rounded once more."""
    return filtered.device.type == "cpu" and filtered.dtype == torch.promote_types(mix.dtype, torch.float32)


def _gated_mix(mix: Tensor, gates: Tensor, dtype: torch.dtype) -> Tensor:
    """Return Mix diag(g) [B, O, N], computed in at least float32 and rounded once."""
    wide = torch.promote_types(mix.dtype, torch.float32)
    return (mix.to(wide) * gates.to(wide)[:, None, :]).to(dtype)


def _channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def _pixels(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).flatten(1, 2)


class _Mixed(torch.autograd.Function):
    """``mixed``, of which the filtered maps alone are stored: gated maps and matrices are computed again in the backward pass."""

    @staticmethod
    def forward(ctx: Any, filtered: Tensor, mix: Tensor, gates: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(filtered, mix, gates, bias)
        return mixed(filtered, mix, gates, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        filtered, mix, gates, bias = saved = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        if torch.is_grad_enabled():  # a gradient that is differentiated again: as autograd has it
            inputs = [tensor for tensor, needed in zip(saved, wanted, strict=True) if needed]
            found = iter(torch.autograd.grad(mixed(*saved), inputs, gradient, create_graph=True))
            return tuple(next(found) if needed else None for needed in wanted)
        if _dense(filtered, mix):
            return _dense_backward(gradient, filtered, mix, gates, bias, wanted)
        gated_mix = _gated_mix(mix, gates, filtered.dtype)
        if _channels_last(filtered):
            pixels = _pixels(gradient)
            of_filtered = torch.bmm(pixels, gated_mix).view(*gradient.shape[:1], *gradient.shape[2:], -1).permute(0, 3, 1, 2)
            of_matrix = torch.bmm(pixels.mT, _pixels(filtered))
        else:
            maps = gradient.flatten(2)
            of_filtered = torch.bmm(gated_mix.mT, maps).view_as(filtered)
            of_matrix = torch.bmm(maps, filtered.flatten(2).mT)
        of_matrix = of_matrix.to(torch.promote_types(mix.dtype, torch.float32))
        of_mix = (of_matrix * gates[:, None, :]).sum(0).to(mix.dtype) if wanted[1] else None
        of_gates = (of_matrix * mix).sum(1).to(gates.dtype) if wanted[2] else None
        of_bias = gradient.sum((0, 2, 3)).to(bias.dtype) if wanted[3] else None
        return of_filtered, of_mix, of_gates, of_bias


def _dense_backward(
    gradient: Tensor, filtered: Tensor, mix: Tensor, gates: Tensor, bias: Tensor | None, wanted: tuple[bool, ...]
) -> tuple[Tensor | None, ...]:
    """Return the gradients of the dense form, a few samples at a time, whose gated maps stay in the processor's cache."""
    factors, weight = gates.to(filtered.dtype)[:, :, None, None], mix.to(filtered.dtype)[:, :, None, None]
    of_filtered, of_gates, of_mix = torch.empty_like(filtered), torch.empty_like(factors), torch.zeros_like(weight)
    geometry = (None, (1, 1), (0, 0), ONEDNN, False, (0, 0), 1)
    for part in _parts(filtered):
        gated = filtered[part] * factors[part]
        mask = [True, wanted[1], False]
        of_gated, of_weight, _ = torch.ops.aten.convolution_backward(gradient[part], gated, weight, *geometry, mask)
        torch.mul(of_gated, factors[part], out=of_filtered[part])
        if wanted[1]:
            of_mix += of_weight
        if wanted[2]:
            torch.sum(torch.mul(of_gated, filtered[part], out=gated), (2, 3), keepdim=True, out=of_gates[part])
    of_bias = gradient.sum((0, 2, 3)) if wanted[3] else None  # in oneDNN's convolution it takes several times as long
    return (
        of_filtered,
        of_mix[:, :, 0, 0].to(mix.dtype) if wanted[1] else None,
        of_gates[:, :, 0, 0].to(gates.dtype) if wanted[2] else None,
        None if bias is None or of_bias is None else of_bias.to(bias.dtype),
    )


def _parts(filtered: Tensor) -> Iterator[slice]:
    """Yield slices of samples whose maps take about CACHE_BYTES; two samples at least, since calls for one cost more than they save."""
    step = max(2, CACHE_BYTES // filtered[0].nbytes)
    return (slice(first, first + step) for first in range(0, len(filtered), step))


def _affine(bias: Tensor | None, left: Tensor, right: Tensor) -> Tensor:
    return torch.bmm(left, right) if bias is None else torch.baddbmm(bias, left, right)


def folding_pays(x: torch.Size, dictionary: torch.Size, outputs: int, geometry: Geometry) -> bool:
    """Return whether building one kernel Mix diag(g) D for the whole batch costs fewer multiplications than mixing its maps."""
    if geometry.groups > 1:
        return False  # the folded kernel would be dense
    filters, inputs, rows, columns = dictionary
    height, width = geometry.output_size(x[2], x[3], (rows, columns))
    positions, taps = height * width, rows * columns
    if geometry.resample != "none":
        positions = min(x[2] * x[3], positions)
        taps = fused_side(rows, geometry.resample) * fused_side(columns, geometry.resample)
    per_filter = x[0] * positions * inputs * taps
    folded = outputs * filters * inputs * rows * columns + outputs * per_filter
    return folded < filters * per_filter + x[0] * height * width * outputs * filters


def _folded(
    x: Tensor, dictionary: Tensor, gated_mix: Tensor, bias: Tensor | None, filter_bias: Tensor | None, geometry: Geometry
) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):
        weight = (gated_mix @ dictionary.to(gated_mix.dtype).flatten(1)).view(-1, *dictionary.shape[1:])
        if filter_bias is not None:
            gated_bias = (gated_mix @ filter_bias.to(gated_mix.dtype)).to(filter_bias.dtype)
            bias = gated_bias if bias is None else bias + gated_bias
    return geometry.conv(x, weight, bias)
