r"""Triton kernels of batch normalisation with its scale, shift and rectifier, for CUDA devices.

.. math:: y = \rho\bigl(s\, n + t\bigr), \qquad n = \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}}, \qquad \rho(v) = \max(v, a v)

Two kernels compute y: one reads x for the statistics of its parts, the other combines these, normalises and rectifies. Two
kernels compute the gradients in the same way; they compute n and the sign of y again from x. Each tensor of the size of x is read or
written as seldom as is possible: three passes for y and five for the gradient, of which separate operations need five and eight.

Inputs are float32, bfloat16 or float16, [B, C, H, W], contiguous or in channels last; everything is computed in float32. Sums are made in
an order that depends on the shape alone, without atomic operations, so results are repeatable.
"""

from typing import Any, NamedTuple, no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

TILE = 4096  # values of a tile
PARTS = 64  # partial results, which every program of the next kernel reads
PROGRAMS = 1024
LARGEST = 2**31  # offsets are 32-bit integers


VALUES = ["pixels", "of_sample", "of_group", "splits", "each", "parts"]
"""Arguments for whose values 1 and 16 n a kernel is not compiled again; strides and channels say how values can be loaded."""


@triton.jit(do_not_specialize=VALUES)
@no_type_check  # tests check types at run time by a wrapper, which Triton cannot compile
def _partial_statistics(
    x, partial, counts, pixels, channels, stride_b, stride_p, stride_c, of_sample, of_group, splits, each,
    BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Write mean and sum of squared deviations [parts, 2, C], and the number of values [parts], of every part of the tiles."""
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    part = tl.program_id(1)
    count = tl.zeros([BLOCK_P], tl.float32)
    mean = tl.zeros([BLOCK_P, BLOCK_C], tl.float32)
    squares = tl.zeros([BLOCK_P, BLOCK_C], tl.float32)
    begin = (part // splits) * of_group + (part % splits) * each
    for tile in range(begin, tl.minimum(begin + each, (part // splits + 1) * of_group)):
        p = (tile % of_sample) * BLOCK_P + tl.arange(0, BLOCK_P)
        here = (p < pixels)[:, None] & (c < channels)[None, :]
        at = (tile // of_sample) * stride_b + p[:, None] * stride_p + c[None, :] * stride_c
        value = tl.load(x + at, mask=here, other=0.0).to(tl.float32)
        count += tl.where(p < pixels, 1.0, 0.0)
        # Welford's update of every place of the tile: the squares of deviations stay small, wherever the mean is
        deviation = tl.where(here, value - mean, 0.0)
        mean += deviation / tl.maximum(count, 1.0)[:, None]
        squares += deviation * tl.where(here, value - mean, 0.0)
    total = tl.sum(count, 0)
    joint = tl.sum(count[:, None] * mean, 0) / total
    apart = mean - joint[None, :]
    spread = tl.sum(squares + count[:, None] * apart * apart, 0)
    out = partial + part * 2 * channels + c
    tl.store(out, joint, mask=c < channels)
    tl.store(out + channels, spread, mask=c < channels)
    tl.store(counts + part, total, mask=tl.program_id(0) == 0)


@triton.jit
@no_type_check
def _scale_and_shift(
    scale, shift, c, channels, sample, BLOCK_C: tl.constexpr, SCALED: tl.constexpr, PER_SAMPLE: tl.constexpr
):  # fmt: skip
    """Return s and t of the channels c: per channel, or of a sample; 1 and 0 where there are none."""
    s = tl.full([BLOCK_C], 1.0, tl.float32)
    t = tl.zeros([BLOCK_C], tl.float32)
    if SCALED:
        row_of = sample * channels if PER_SAMPLE else 0
        s = tl.load(scale + row_of + c, mask=c < channels, other=0.0).to(tl.float32)
        t = tl.load(shift + row_of + c, mask=c < channels, other=0.0).to(tl.float32)
    return s, t


@triton.jit(do_not_specialize=VALUES)
@no_type_check
def _normalise(
    x, y, partial, counts, scale, shift, statistics, total_count, running_mean, running_variance, eps, slope, momentum, parts,
    pixels, channels, stride_b, stride_p, stride_c, of_sample, of_group, splits, each,
    BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr, ALL: tl.constexpr,
    SCALED: tl.constexpr, PER_SAMPLE: tl.constexpr, TRACKED: tl.constexpr,
):  # fmt: skip
    r"""Write y, :math:`\mu` and :math:`1 / \sqrt{\sigma^2 + \varepsilon}` [2, C], the number of values, and the running statistics."""
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    part = tl.program_id(1)
    row = tl.arange(0, ALL)
    held = (row < parts)[:, None] & (c < channels)[None, :]
    count = tl.load(counts + row, mask=row < parts, other=0.0)
    where = partial + row[:, None] * 2 * channels + c[None, :]
    means = tl.load(where, mask=held, other=0.0)
    spreads = tl.load(where + channels, mask=held, other=0.0)
    total = tl.sum(count, 0)
    mean = tl.sum(count[:, None] * means, 0) / total
    apart = means - mean[None, :]
    variance = tl.sum(spreads + count[:, None] * apart * apart, 0) / total
    inverse = 1.0 / tl.sqrt(variance + eps)
    if part == 0:
        tl.store(statistics + c, mean, mask=c < channels)
        tl.store(statistics + channels + c, inverse, mask=c < channels)
        tl.store(total_count, total, mask=tl.program_id(0) == 0)
        if TRACKED:
            old = tl.load(running_mean + c, mask=c < channels)
            tl.store(running_mean + c, old + momentum * (mean - old), mask=c < channels)
            old = tl.load(running_variance + c, mask=c < channels)
            tl.store(running_variance + c, old + momentum * (variance * (total / (total - 1.0)) - old), mask=c < channels)
    s, t = _scale_and_shift(scale, shift, c, channels, part // splits, BLOCK_C, SCALED, PER_SAMPLE)
    begin = (part // splits) * of_group + (part % splits) * each
    for tile in range(begin, tl.minimum(begin + each, (part // splits + 1) * of_group)):
        p = (tile % of_sample) * BLOCK_P + tl.arange(0, BLOCK_P)
        here = (p < pixels)[:, None] & (c < channels)[None, :]
        at = (tile // of_sample) * stride_b + p[:, None] * stride_p + c[None, :] * stride_c
        value = tl.load(x + at, mask=here, other=0.0).to(tl.float32)
        result = (value - mean[None, :]) * inverse[None, :] * s[None, :] + t[None, :]
        result = tl.where(result > 0.0, result, slope * result)
        tl.store(y + at, result.to(y.dtype.element_ty), mask=here)


@triton.jit(do_not_specialize=VALUES)
@no_type_check
def _partial_sums(
    g, x, statistics, scale, shift, partial, slope, pixels, channels, stride_b, stride_p, stride_c, of_sample, of_group, splits, each,
    BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr, SCALED: tl.constexpr, PER_SAMPLE: tl.constexpr,
):  # fmt: skip
    r"""Write the sums of :math:`g'` and :math:`g' n` [parts, 2, C], where :math:`g' = g\, \rho'(s n + t)`, of every part of the tiles."""
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    part = tl.program_id(1)
    mean = tl.load(statistics + c, mask=c < channels, other=0.0)
    inverse = tl.load(statistics + channels + c, mask=c < channels, other=0.0)
    s, t = _scale_and_shift(scale, shift, c, channels, part // splits, BLOCK_C, SCALED, PER_SAMPLE)
    plain = tl.zeros([BLOCK_P, BLOCK_C], tl.float32)
    product = tl.zeros([BLOCK_P, BLOCK_C], tl.float32)
    begin = (part // splits) * of_group + (part % splits) * each
    for tile in range(begin, tl.minimum(begin + each, (part // splits + 1) * of_group)):
        p = (tile % of_sample) * BLOCK_P + tl.arange(0, BLOCK_P)
        here = (p < pixels)[:, None] & (c < channels)[None, :]
        at = (tile // of_sample) * stride_b + p[:, None] * stride_p + c[None, :] * stride_c
        value = tl.load(x + at, mask=here, other=0.0).to(tl.float32)
        gradient = tl.load(g + at, mask=here, other=0.0).to(tl.float32)
        normalised = (value - mean[None, :]) * inverse[None, :]
        gradient = tl.where(normalised * s[None, :] + t[None, :] > 0.0, gradient, slope * gradient)
        plain += gradient
        product += gradient * normalised
    out = partial + part * 2 * channels + c
    tl.store(out, tl.sum(plain, 0), mask=c < channels)
    tl.store(out + channels, tl.sum(product, 0), mask=c < channels)


@triton.jit(do_not_specialize=VALUES)
@no_type_check
def _input_gradient(
    g, x, result, statistics, scale, shift, partial, total_count, sums, slope, parts,
    pixels, channels, stride_b, stride_p, stride_c, of_sample, of_group, splits, each,
    BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr, ALL: tl.constexpr, SCALED: tl.constexpr, PER_SAMPLE: tl.constexpr,
):  # fmt: skip
    r"""Write the gradient of x, and the sums [2, C] of all parts; per sample the given sums contain s, and else they do not."""
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    part = tl.program_id(1)
    row = tl.arange(0, ALL)
    held = (row < parts)[:, None] & (c < channels)[None, :]
    where = partial + row[:, None] * 2 * channels + c[None, :]
    plain = tl.sum(tl.load(where, mask=held, other=0.0), 0)
    product = tl.sum(tl.load(where + channels, mask=held, other=0.0), 0)
    if part == 0:
        tl.store(sums + c, plain, mask=c < channels)
        tl.store(sums + channels + c, product, mask=c < channels)
    mean = tl.load(statistics + c, mask=c < channels, other=0.0)
    inverse = tl.load(statistics + channels + c, mask=c < channels, other=0.0)
    s, t = _scale_and_shift(scale, shift, c, channels, part // splits, BLOCK_C, SCALED, PER_SAMPLE)
    count = tl.load(total_count)
    plain = plain / count
    product = product / count
    if not PER_SAMPLE:
        plain = plain * s
        product = product * s
    begin = (part // splits) * of_group + (part % splits) * each
    for tile in range(begin, tl.minimum(begin + each, (part // splits + 1) * of_group)):
        p = (tile % of_sample) * BLOCK_P + tl.arange(0, BLOCK_P)
        here = (p < pixels)[:, None] & (c < channels)[None, :]
        at = (tile // of_sample) * stride_b + p[:, None] * stride_p + c[None, :] * stride_c
        value = tl.load(x + at, mask=here, other=0.0).to(tl.float32)
        gradient = tl.load(g + at, mask=here, other=0.0).to(tl.float32)
        normalised = (value - mean[None, :]) * inverse[None, :]
        gradient = tl.where(normalised * s[None, :] + t[None, :] > 0.0, gradient, slope * gradient)
        change = inverse[None, :] * (s[None, :] * gradient - plain[None, :] - normalised * product[None, :])
        tl.store(result + at, change.to(result.dtype.element_ty), mask=here)


class _Grid(NamedTuple):
    """Division of a tensor into tiles of pixels and channels, of the tiles into groups, and of each group into parts."""

    columns: int
    """Programs along the channels."""
    parts: int
    """Programs along the tiles: groups times splits."""
    arguments: dict[str, int]
    """What all kernels take."""
    warps: int

    def __call__(self, kernel: Any, *tensors: Any, **others: Any) -> None:
        with torch.cuda.device_of(tensors[0]):  # type: ignore[no-untyped-call]
            kernel[self.columns, self.parts](*tensors, **self.arguments, **others, num_warps=self.warps)


def _grid(x: Float[Tensor, "b c h w"], *, per_sample: bool, most: int) -> _Grid:
    """Return the division of x; with ``per_sample`` a group is a sample, else there is one. ``most``: limit of the splits of a group."""
    batch, channels = x.shape[:2]
    last = x.is_contiguous(memory_format=torch.channels_last)
    samples, pixels = (1, batch * x.shape[2] * x.shape[3]) if last and not per_sample else (batch, x.shape[2] * x.shape[3])
    if last:
        block_c = min(32, triton.next_power_of_2(channels))
        block_p = min(TILE // block_c, triton.next_power_of_2(pixels))
    else:
        block_p = min(1024, triton.next_power_of_2(pixels))
        block_c = min(TILE // block_p, 32, triton.next_power_of_2(channels))
    of_sample, columns = triton.cdiv(pixels, block_p), triton.cdiv(channels, block_c)
    groups = samples if per_sample else 1
    of_group = of_sample * samples // groups
    each = triton.cdiv(of_group, max(1, min(of_group, most, PROGRAMS // (columns * groups))))
    splits = triton.cdiv(of_group, each)  # none is empty
    arguments = {"pixels": pixels, "channels": channels, "stride_b": channels * pixels, "stride_p": channels if last else 1}
    arguments |= {"stride_c": 1 if last else pixels, "of_sample": of_sample, "of_group": of_group, "splits": splits, "each": each}
    return _Grid(
        columns, groups * splits, {**arguments, "BLOCK_P": block_p, "BLOCK_C": block_c}, warps=8 if block_p * block_c > 1024 else 4
    )


def takes(x: Tensor) -> bool:
    """Return whether the kernels take x."""
    return x.dtype in (torch.float32, torch.bfloat16, torch.float16) and x.numel() < LARGEST


def partial_statistics(x: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, "p 2 c"], Float[Tensor, " p"]]:
    """Return mean and sum of squared deviations, and the number of values, of every part of x."""
    grid = _grid(x, per_sample=False, most=PARTS)
    partial = torch.empty(grid.parts, 2, x.shape[1], device=x.device)
    counts = torch.empty(grid.parts, device=x.device)
    grid(_partial_statistics, x, partial, counts)
    return partial, counts


def normalise(
    x: Float[Tensor, "b c h w"],
    partial: Float[Tensor, "p 2 c"],
    counts: Float[Tensor, " p"],
    scale: Float[Tensor, "*s c"] | None,
    shift: Float[Tensor, "*s c"] | None,
    *,
    eps: float,
    slope: float,
    running: tuple[Tensor, Tensor, float] | None,
    out: Float[Tensor, "b c h w"] | None = None,
) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "2 c"], Float[Tensor, " 1"]]:
    r"""Return y, the mean and :math:`1 / \sqrt{\sigma^2 + \varepsilon}` of all parts, and their number of values.

    Args:
        x: in one of the two layouts.
        partial: see ``partial_statistics``.
        counts: see ``partial_statistics``.
        scale: s, per channel, or per sample and channel; None: 1.
        shift: t; None exactly if ``scale`` is.
        eps: ε.
        slope: a.
        running: running mean and variance, which are updated, and the weight of this batch in them; None: there are none.
        out: memory of y, in the layout of x; None: new.

    """
    per_sample = scale is not None and scale.ndim == 2
    grid = _grid(x, per_sample=per_sample, most=PROGRAMS)
    y = torch.empty_like(x) if out is None else out
    statistics = torch.empty(2, x.shape[1], device=x.device)
    total = torch.empty(1, device=x.device)
    mean, variance, momentum = (x, x, 0.0) if running is None else running
    grid(
        _normalise, x, y, partial, counts, x if scale is None else scale, x if shift is None else shift, statistics, total, mean, variance,
        eps, slope, momentum, len(counts), ALL=triton.next_power_of_2(PARTS), SCALED=scale is not None, PER_SAMPLE=per_sample,
        TRACKED=running is not None,
    )  # fmt: skip
    return y, statistics, total


def partial_sums(
    g: Float[Tensor, "b c h w"],
    x: Float[Tensor, "b c h w"],
    statistics: Float[Tensor, "2 c"],
    scale: Float[Tensor, "*s c"] | None,
    shift: Float[Tensor, "*s c"] | None,
    *,
    slope: float,
) -> Float[Tensor, "p 2 c"]:
    """Return the sums of g' and g' n of every part of x; with scales per sample every sample has as many parts, in its order."""
    per_sample = scale is not None and scale.ndim == 2
    grid = _grid(x, per_sample=per_sample, most=PARTS)
    partial = torch.empty(grid.parts, 2, x.shape[1], device=x.device)
    tensors = (g, x, statistics, x if scale is None else scale, x if shift is None else shift, partial)
    grid(_partial_sums, *tensors, slope, SCALED=scale is not None, PER_SAMPLE=per_sample)
    return partial


def input_gradient(
    g: Float[Tensor, "b c h w"],
    x: Float[Tensor, "b c h w"],
    statistics: Float[Tensor, "2 c"],
    scale: Float[Tensor, "*s c"] | None,
    shift: Float[Tensor, "*s c"] | None,
    partial: Float[Tensor, "p 2 c"],
    total: Float[Tensor, " 1"],
    *,
    slope: float,
) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "2 c"]]:
    """Return the gradient of x, and the sums of all parts.

    Args:
        g: gradient of y, in the layout of x.
        x: as in ``normalise``.
        statistics: of ``normalise``.
        scale: as in ``normalise``.
        shift: as in ``normalise``.
        partial: sums of g' and g' n of at most ``PARTS`` parts; with scales per sample, of s g' and s g' n.
        total: number of values that the sums are divided by.
        slope: a.

    """
    per_sample = scale is not None and scale.ndim == 2
    grid = _grid(x, per_sample=per_sample, most=PROGRAMS)
    result, sums = torch.empty_like(x), torch.empty(2, x.shape[1], device=x.device)
    tensors = (g, x, result, statistics, x if scale is None else scale, x if shift is None else shift, partial, total, sums)
    grid(
        _input_gradient, *tensors, slope, len(partial), ALL=triton.next_power_of_2(PARTS), SCALED=scale is not None,
        PER_SAMPLE=per_sample,
    )  # fmt: skip
    return result, sums
