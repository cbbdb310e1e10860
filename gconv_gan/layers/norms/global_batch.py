r"""Normalisation by the statistics of a batch, with scale, shift and rectifier, which stores no map but its input and its result.

.. math:: y = \rho(v), \quad v = s\, n + t, \quad n = \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}}, \qquad
    \frac{\partial L}{\partial x} = \frac{1}{\sqrt{\sigma^2 + \varepsilon}}
    \bigl(s\, g' - \mathrm{mean}(s\, g') - n\, \mathrm{mean}(s\, g'\, n)\bigr), \quad g' = \rho'(v) \frac{\partial L}{\partial y}

with :math:`\rho(v) = \max(v, a v)` and means over batch, rows, columns and, where asked, the processes (Ioffe and Szegedy, arXiv
1502.03167, section 3). It has three forms: the kernels of ``batch_kernels``, on CUDA; those of torch's ``SyncBatchNorm``, on CUDA too, with
neither rectifier nor scales per sample; and formulas. The derivative of the derivative, as R1 asks of a discriminator, is that of
the equation above, from the stored input.
"""

import importlib.util
import itertools
import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from gconv_gan.layers.norms.running_statistics import sum_over_processes

Running = tuple[Tensor, Tensor, float]
"""Running mean and variance [C], and the weight of a batch in them."""
CHECKED = ((3, 5, 7, 3), (40, 40, 16, 16))
"""Sizes of the maps of ``check_fused_kernels``: of the second a program has several tiles."""


@dataclass(frozen=True)
class BatchStatistics:
    """Statistics of a batch, in float32 or float64."""

    mean: Float[Tensor, " c"]
    variance: Float[Tensor, " c"]
    """Mean square of the deviations."""
    values: Float[Tensor, ""] | int
    """How many values a channel has."""


def batch_normalised(
    x: Float[Tensor, "b c h w"],
    scale: Float[Tensor, "*s c"] | None,
    shift: Float[Tensor, "*s c"] | None,
    *,
    eps: float,
    slope: float = 1.0,
    shared: bool = False,
    fused: bool = False,
    running: Running | None = None,
    out: Float[Tensor, "b c h w"] | None = None,
) -> tuple[Float[Tensor, "b c h w"], BatchStatistics]:
    """Return y and the statistics, which have no gradient. With ``shared`` collective, in the forward pass and in every backward pass.

    The gradients of ``scale`` and ``shift`` are those of this process's loss, that of x is that of the sum of all losses.

    Args:
        x: this process's share of the batch; shares may be unequal.
        scale: s, per channel, or per sample and channel; None: 1.
        shift: t; None: 0, exactly if ``scale`` is None.
        eps: ε.
        slope: a in [0, 1]; 1: no rectifier. On CUDA without ``fused`` it must be 1, and ``scale`` per channel.
        shared: statistics of all processes.
        fused: by the kernels of ``batch_kernels``.
        running: updated by this batch; only with ``fused``, and without ``shared``.
        out: memory of y, in the layout of x; only with ``fused``, and where no gradient is asked for.

    """
    y, mean, inverse, count = _BatchNormalised.apply(dense(x), scale, shift, eps, slope, shared, fused, running, out)
    return y, BatchStatistics(mean, (inverse.pow(-2) - eps).clamp_(min=0), count if shared else x.numel() // x.shape[1])


class _BatchNormalised(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        scale: Tensor | None,
        shift: Tensor | None,
        eps: float,
        slope: float,
        shared: bool,
        fused: bool,
        running: Running | None,
        out: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        counts = None
        if fused:
            kernels = _kernels()
            scale, shift = (None if one is None else one.contiguous() for one in (scale, shift))
            partial, counts = kernels.partial_statistics(x)
            if shared:
                mean, inverse, counts = _over_processes(*_combined(partial, counts, eps), counts.sum(), eps)
                partial, counts = torch.stack([mean, (inverse.pow(-2) - eps) * counts.sum()])[None], counts.sum()[None]
            y, statistics, count = kernels.normalise(x, partial, counts, scale, shift, eps=eps, slope=slope, running=running, out=out)
            mean, inverse = statistics
            ctx.save_for_backward(x, scale, shift, statistics, count)
        else:
            mean, inverse = _local_statistics(x, eps)
            if shared:
                mean, inverse, counts = _over_processes(mean, inverse, mean.new_full((), x.numel() // x.shape[1]), eps)
            y = _scaled_and_shifted(x, scale, shift, mean, inverse, eps, slope)
            # the sign of y tells what the rectifier did; whatever follows stores y anyway
            ctx.save_for_backward(x, scale, mean, inverse, None if counts is None else counts.int(), None if slope == 1 else y)
            count = None if counts is None else counts.sum()
        ctx.eps, ctx.slope, ctx.shared, ctx.fused = eps, slope, shared, fused
        ctx.mark_non_differentiable(*(mean, inverse) if count is None else (mean, inverse, count))
        return y, mean, inverse, count

    @staticmethod
    def backward(ctx: Any, g: Tensor, *_: Tensor | None) -> tuple[Tensor | None, ...]:
        count: Tensor | None = None
        shift = counts = y = None
        if ctx.fused:
            x, scale, shift, statistics, count = ctx.saved_tensors
        else:
            x, scale, mean, inverse, counts, y = ctx.saved_tensors
        if torch.is_grad_enabled():  # the caller differentiates again
            found = _differentiable_gradients(g, x, scale, shift, y, eps=ctx.eps, slope=ctx.slope, shared=ctx.shared)
        elif count is not None:
            found = _fused_gradients(dense(g, like=x), x, scale, shift, statistics, count, slope=ctx.slope, shared=ctx.shared)
        else:
            found = _gradients(dense(g, like=x), x, scale, mean, inverse, counts, y, slope=ctx.slope)
        of_x, of_scale, of_shift = found if scale is not None else (found[0], None, None)
        return of_x, of_scale, of_shift, None, None, None, None, None, None


@cache
def triton_is_installed() -> bool:
    """Return whether ``batch_kernels`` can be imported."""
    return importlib.util.find_spec("triton") is not None


def check_fused_kernels(device: torch.device) -> None:
    """Compare ``batch_kernels`` on a device with separate operations, in float32.

    Raises:
        RuntimeError: a result is another one. What Triton raises where it cannot compile, launch or import is passed on.

    """
    for shape, layout in itertools.product(CHECKED, (torch.contiguous_format, torch.channels_last)):
        places = torch.arange(math.prod(shape), device=device).view(shape)
        x, g = ((places * number % 1009 / 1009).contiguous(memory_format=layout).requires_grad_() for number in (389, 571))
        for size in ((), shape[1:2], shape[:2]):
            scales = [
                torch.arange(1, 1 + math.prod(size), device=device).view(size) / math.prod(size) - 0.4 for _ in range(2 if size else 0)
            ]
            inputs = [x, *(scale.requires_grad_() for scale in scales)]
            y, _ = batch_normalised(*inputs, *[None] * (3 - len(inputs)), eps=1e-3, slope=0.2, fused=True)
            expected = F.batch_norm(x, None, None, None, None, training=True, eps=1e-3)
            if scales:
                expected = torch.addcmul(per_pixel(inputs[2]), per_pixel(inputs[1]), expected)
            results = [[result, *torch.autograd.grad(result, inputs, g)] for result in (y, F.leaky_relu(expected, 0.2))]
            for ours, theirs in zip(*results, strict=True):
                if not torch.allclose(ours, theirs, rtol=1e-3, atol=1e-3 * (1 + float(theirs.detach().abs().max()))):
                    raise RuntimeError(f"they compute other values on {list(shape)}")


def _kernels() -> Any:
    from gconv_gan.layers.norms import batch_kernels  # it imports Triton, which not every build of torch brings

    return batch_kernels


def has_fused_kernels(x: Tensor) -> bool:
    """Return whether ``batch_kernels`` take x."""
    return x.is_cuda and triton_is_installed() and _kernels().takes(x)


def has_kernels(x: Tensor) -> bool:
    """Return whether torch has kernels of ``SyncBatchNorm`` for the device of x."""
    return x.is_cuda


def by_formulas(x: Tensor) -> bool:
    """Return whether x is normalised by formulas, which take scales per sample and a rectifier, where ``batch_kernels`` are not used."""
    return not has_kernels(x)


def dense(x: Tensor, like: Tensor | None = None) -> Tensor:
    """Return x in channels_last if it (or ``like``) is laid out so, else contiguous: the kernels take both and no other layout."""
    last = (x if like is None else like).is_contiguous(memory_format=torch.channels_last)
    return x.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def per_pixel(values: Float[Tensor, "*s c"]) -> Float[Tensor, "*s c 1 1"]:
    """Return values of channels, or of samples and channels, to be combined with maps."""
    return values[..., None, None]


def _local_statistics(x: Float[Tensor, "b c h w"], eps: float) -> tuple[Float[Tensor, " c"], Float[Tensor, " c"]]:
    r"""Return the mean and :math:`1 / \sqrt{\sigma^2 + \varepsilon}` of this process's values."""
    if has_kernels(x):
        mean, inverse = torch.batch_norm_stats(x, eps)
        return mean, inverse
    if x.device.type == "cpu":  # one pass, many times faster than var_mean over these axes
        mean, variance = torch.batch_norm_update_stats(_wide(x), None, None, 0.0)
    else:
        variance, mean = torch.var_mean(_wide(x), (0, 2, 3), correction=0)
    return mean, (variance + eps).rsqrt()


def _combined(partial: Float[Tensor, "p 2 c"], counts: Float[Tensor, " p"], eps: float) -> tuple[Float[Tensor, " c"], Float[Tensor, " c"]]:
    """Return the statistics of all parts from the mean and the sum of squared deviations of each."""
    shares = counts / counts.sum()
    means, squares = partial.unbind(1)
    mean = shares @ means
    return mean, (squares.sum(0) / counts.sum() + shares @ (means - mean).square() + eps).rsqrt()


def _over_processes(
    mean: Float[Tensor, " c"], inverse: Float[Tensor, " c"], count: Float[Tensor, ""], eps: float
) -> tuple[Float[Tensor, " c"], Float[Tensor, " c"], Float[Tensor, " p"]]:
    """Return the statistics of all processes, and how many values each has."""
    gathered = mean.new_zeros(dist.get_world_size(), 2 * len(mean) + 1)  # gloo has no gathering into one tensor
    gathered[dist.get_rank()] = torch.cat([mean, inverse, count[None]])
    dist.all_reduce(gathered)
    means, inverses, counts = gathered[:, : len(mean)], gathered[:, len(mean) : -1], gathered[:, -1]
    return *_joint_statistics(means, inverses, counts, eps), counts


def _joint_statistics(
    means: Float[Tensor, "p c"], inverses: Float[Tensor, "p c"], counts: Float[Tensor, " p"], eps: float
) -> tuple[Float[Tensor, " c"], Float[Tensor, " c"]]:
    """Return the statistics of all values from those of each process."""
    if has_kernels(means):
        # the first argument gives the type of the counts alone: a bf16 input would ask for counts in bf16
        mean, inverse = torch.batch_norm_gather_stats_with_counts(means, means, inverses, None, None, 0.0, eps, counts)
        return mean, inverse
    shares = counts / counts.sum()
    mean = shares @ means
    return mean, (shares @ (inverses.pow(-2) + (means - mean).square())).rsqrt()


def _scaled_and_shifted(
    x: Float[Tensor, "b c h w"],
    scale: Float[Tensor, "*s c"] | None,
    shift: Float[Tensor, "*s c"] | None,
    mean: Float[Tensor, " c"],
    inverse: Float[Tensor, " c"],
    eps: float,
    slope: float,
) -> Float[Tensor, "b c h w"]:
    """Return y."""
    if has_kernels(x):
        return torch.batch_norm_elemt(x, scale, shift, mean, inverse, eps)
    factor = inverse if scale is None else inverse * scale
    constant = -mean * factor if shift is None else shift - mean * factor
    y = torch.addcmul(per_pixel(constant), _wide(x), per_pixel(factor))
    return (y if slope == 1 else F.leaky_relu_(y, slope)).to(x.dtype)


def _gradients(
    g: Float[Tensor, "b c h w"],
    x: Float[Tensor, "b c h w"],
    scale: Float[Tensor, "*s c"] | None,
    mean: Float[Tensor, " c"],
    inverse: Float[Tensor, " c"],
    counts: Int[Tensor, " p"] | None,
    y: Float[Tensor, "b c h w"] | None,
    *,
    slope: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x, scale and shift; with ``counts``, how many values every process has, that of x is of all losses."""
    if has_kernels(x):
        assert counts is not None
        of_shift, centred, _, _ = torch.batch_norm_backward_reduce(g, x, mean, inverse, scale, True, False, False)
        sums = torch.stack([of_shift, centred])
        dist.all_reduce(sums)
        return torch.batch_norm_backward_elemt(g, x, mean, inverse, scale, sums[0], sums[1], counts), centred * inverse, of_shift
    wide_g, wide = _wide(g), _wide(x)
    if y is not None:
        wide_g = torch.ops.aten.leaky_relu_backward(wide_g, _wide(y), slope, True)
    of_shift, products = wide_g.sum((2, 3)), (wide_g * wide).sum((2, 3))
    centred = products - mean * of_shift
    weight = 1 if scale is None else scale
    sums = torch.stack([(weight * of_shift).sum(0), (weight * centred).sum(0)])
    count: int | Tensor = x.numel() // x.shape[1]
    if counts is not None:
        dist.all_reduce(sums)
        count = counts.sum()
    mean_g, mean_centred = sums / count
    linear = -inverse.pow(3) * mean_centred
    of_x = torch.addcmul(per_pixel(-inverse * mean_g - linear * mean), wide, per_pixel(linear))
    of_x = of_x.addcmul_(wide_g, per_pixel(inverse * weight)).to(x.dtype)
    if scale is None or scale.ndim == 1:
        of_shift, centred = of_shift.sum(0), centred.sum(0)
    return of_x, centred * inverse, of_shift


def _fused_gradients(
    g: Float[Tensor, "b c h w"],
    x: Float[Tensor, "b c h w"],
    scale: Float[Tensor, "*s c"] | None,
    shift: Float[Tensor, "*s c"] | None,
    statistics: Float[Tensor, "2 c"],
    count: Float[Tensor, " 1"],
    *,
    slope: float,
    shared: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the same as ``_gradients``."""
    kernels = _kernels()
    partial = kernels.partial_sums(g, x, statistics, scale, shift, slope=slope)
    per_sample = scale is not None and scale.ndim == 2
    if scale is not None and per_sample:
        own = partial.unflatten(0, (len(x), -1)).sum(1)
        partial = (scale[:, None] * own).sum(0, keepdim=True).float()
    elif shared:
        own = partial.sum(0)
        partial = own[None].clone()
    if shared:
        dist.all_reduce(partial)
    of_x, sums = kernels.input_gradient(g, x, statistics, scale, shift, partial, count, slope=slope)
    of_shift, of_scale = (own if per_sample or shared else sums).unbind(-2)
    return of_x, of_scale, of_shift


def _differentiable_gradients(
    g: Float[Tensor, "b c h w"],
    x: Float[Tensor, "b c h w"],
    scale: Float[Tensor, "*s c"] | None,
    shift: Float[Tensor, "*s c"] | None,
    y: Float[Tensor, "b c h w"] | None,
    *,
    eps: float,
    slope: float,
    shared: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x, ``scale`` and ``shift`` as functions of g, x and ``scale``; y, or ``shift``, says what was rectified."""

    def total(values: Tensor) -> Tensor:
        return sum_over_processes(values) if shared else values

    wide_g, wide = _wide(g), _wide(x)
    count = total(wide.new_full((1,), wide.numel() // wide.shape[1]))
    centred = wide - per_pixel(total(wide.sum((0, 2, 3))) / count)
    inverse = (total(centred.square().sum((0, 2, 3))) / count + eps).rsqrt()
    normalised = centred * per_pixel(inverse)
    weight = wide.new_ones(()) if scale is None else per_pixel(scale)
    if slope != 1:
        if y is None:
            y = normalised.detach() if scale is None or shift is None else (normalised * weight + per_pixel(shift)).detach()
        wide_g = torch.where(y > 0, wide_g, slope * wide_g)
    axes = (2, 3) if scale is not None and scale.ndim == 2 else (0, 2, 3)
    of_shift, of_scale = wide_g.sum(axes), (wide_g * normalised).sum(axes)
    weighted = weight * wide_g
    means = total(torch.stack([weighted.sum((0, 2, 3)), (weighted * normalised).sum((0, 2, 3))])) / count
    of_x = per_pixel(inverse) * (weighted - per_pixel(means[0]) - normalised * per_pixel(means[1]))
    return of_x.to(x.dtype), of_scale, of_shift
