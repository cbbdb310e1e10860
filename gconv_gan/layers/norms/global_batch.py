r"""Normalisation by the statistics of the batch of all processes, which stores nothing of the size of its input but the input itself.

.. math:: y = \gamma\, n + \beta, \qquad n = \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}}, \qquad
    \frac{\partial L}{\partial x} = \frac{\gamma}{\sqrt{\sigma^2 + \varepsilon}}
    \bigl(g - \mathrm{mean}(g) - n\, \mathrm{mean}(g\, n)\bigr)

with :math:`g = \partial L / \partial y` and means over batch, rows, columns and processes (Ioffe and Szegedy, arXiv 1502.03167, section 3).
On CUDA these are the kernels of torch's ``SyncBatchNorm``, which has no other back end and no second derivative. Other devices compute the
same by formulas. The derivative of the derivative, as R1 asks of a discriminator, is that of the equation above, from the stored input.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor

from gconv_gan.layers.norms.running_statistics import sum_over_processes


@dataclass(frozen=True)
class BatchStatistics:
    """Statistics of the batch of all processes, in float32 or float64."""

    mean: Float[Tensor, " c"]
    variance: Float[Tensor, " c"]
    """Mean square of the deviations."""
    values: Float[Tensor, ""]
    """How many values a channel has."""


def normalised_over_processes(
    x: Float[Tensor, "b c h w"], weight: Float[Tensor, " c"] | None, bias: Float[Tensor, " c"] | None, eps: float
) -> tuple[Float[Tensor, "b c h w"], BatchStatistics]:
    """Return y and the statistics, which have no gradient. Collective, in the forward pass and in every backward pass.

    The gradients of ``weight`` and ``bias`` are those of this process's loss, that of x is that of the sum of all losses.

    Args:
        x: this process's share of the batch; shares may be unequal.
        weight: γ; None: 1.
        bias: β; None: 0.
        eps: ε.

    """
    y, mean, inverse, count = _NormalisedOverProcesses.apply(_dense(x), weight, bias, eps)
    return y, BatchStatistics(mean, (inverse.pow(-2) - eps).clamp_(min=0), count)


class _NormalisedOverProcesses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        mean, inverse = _local_statistics(x, eps)
        gathered = mean.new_zeros(dist.get_world_size(), 2 * len(mean) + 1)  # gloo has no gathering into one tensor
        gathered[dist.get_rank()] = torch.cat([mean, inverse, mean.new_full((1,), x.numel() // x.shape[1])])
        dist.all_reduce(gathered)
        means, inverses, counts = gathered[:, : len(mean)], gathered[:, len(mean) : -1], gathered[:, -1]
        mean, inverse = _joint_statistics(means, inverses, counts, eps)
        count = counts.sum()
        ctx.save_for_backward(x, weight, mean, inverse, counts.int())
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, inverse, count)
        return _scaled_and_shifted(x, weight, bias, mean, inverse, eps), mean, inverse, count

    @staticmethod
    def backward(ctx: Any, g: Tensor, *_: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None, None]:
        x, weight, mean, inverse, counts = ctx.saved_tensors
        if torch.is_grad_enabled():  # the caller differentiates again
            of_x, of_weight, of_bias = _differentiable_gradients(g, x, weight, ctx.eps)
        else:
            g = _dense(g, like=x)
            of_bias, centred = _sums(g, x, weight, mean, inverse)
            of_weight = centred * inverse
            sums = torch.stack([of_bias, centred])
            dist.all_reduce(sums)
            of_x = _input_gradient(g, x, weight, mean, inverse, sums, counts)
        return (of_x, None, None, None) if weight is None else (of_x, of_weight, of_bias, None)


def has_kernels(x: Tensor) -> bool:
    """Return whether torch has kernels of ``SyncBatchNorm`` for the device of x."""
    return x.is_cuda


def _dense(x: Tensor, like: Tensor | None = None) -> Tensor:
    """Return x in channels_last if it (or ``like``) is laid out so, else contiguous: the kernels take both and no other layout."""
    last = (x if like is None else like).is_contiguous(memory_format=torch.channels_last)
    return x.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _local_statistics(x: Float[Tensor, "b c h w"], eps: float) -> tuple[Float[Tensor, " c"], Float[Tensor, " c"]]:
    r"""Return the mean and :math:`1 / \sqrt{\sigma^2 + \varepsilon}` of this process's values."""
    if has_kernels(x):
        mean, inverse = torch.batch_norm_stats(x, eps)
        return mean, inverse
    variance, mean = torch.var_mean(_wide(x), (0, 2, 3), correction=0)
    return mean, (variance + eps).rsqrt()


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
    weight: Float[Tensor, " c"] | None,
    bias: Float[Tensor, " c"] | None,
    mean: Float[Tensor, " c"],
    inverse: Float[Tensor, " c"],
    eps: float,
) -> Float[Tensor, "b c h w"]:
    """Return y."""
    if has_kernels(x):
        return torch.batch_norm_elemt(x, weight, bias, mean, inverse, eps)
    scale = inverse if weight is None else inverse * weight
    shift = -mean * scale if bias is None else bias - mean * scale
    return torch.addcmul(shift[:, None, None], _wide(x), scale[:, None, None]).to(x.dtype)


def _sums(
    g: Float[Tensor, "b c h w"],
    x: Float[Tensor, "b c h w"],
    weight: Float[Tensor, " c"] | None,
    mean: Float[Tensor, " c"],
    inverse: Float[Tensor, " c"],
) -> tuple[Float[Tensor, " c"], Float[Tensor, " c"]]:
    r"""Return :math:`\sum g` and :math:`\sum g (x - \mu)` of this process's values."""
    if has_kernels(x):
        sum_g, centred, _, _ = torch.batch_norm_backward_reduce(g, x, mean, inverse, weight, True, False, False)
        return sum_g, centred
    wide = _wide(g)
    sum_g = wide.sum((0, 2, 3))
    return sum_g, (wide * (_wide(x) - mean[:, None, None])).sum((0, 2, 3))


def _input_gradient(
    g: Float[Tensor, "b c h w"],
    x: Float[Tensor, "b c h w"],
    weight: Float[Tensor, " c"] | None,
    mean: Float[Tensor, " c"],
    inverse: Float[Tensor, " c"],
    sums: Float[Tensor, "2 c"],
    counts: Int[Tensor, " p"],
) -> Float[Tensor, "b c h w"]:
    """Return the gradient of x from the sums over all processes of g and g (x - μ)."""
    if has_kernels(x):
        return torch.batch_norm_backward_elemt(g, x, mean, inverse, weight, sums[0], sums[1], counts)
    mean_g, mean_centred = sums / counts.sum()
    scale = inverse if weight is None else inverse * weight
    slope = -scale * inverse.square() * mean_centred
    constant = -scale * mean_g - slope * mean
    linear = torch.addcmul(constant[:, None, None], _wide(x), slope[:, None, None])
    return linear.addcmul_(_wide(g), scale[:, None, None]).to(x.dtype)


def _differentiable_gradients(
    g: Float[Tensor, "b c h w"], x: Float[Tensor, "b c h w"], weight: Float[Tensor, " c"] | None, eps: float
) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, " c"], Float[Tensor, " c"]]:
    """Return the gradients of x, ``weight`` and ``bias`` as functions of g, x and ``weight``."""
    wide_g, wide = _wide(g), _wide(x)
    count = sum_over_processes(wide.new_full((1,), wide.numel() // wide.shape[1]))
    centred = wide - (sum_over_processes(wide.sum((0, 2, 3))) / count)[:, None, None]
    inverse = (sum_over_processes(centred.square().sum((0, 2, 3))) / count + eps).rsqrt()
    normalised = centred * inverse[:, None, None]
    of_bias, of_weight = wide_g.sum((0, 2, 3)), (wide_g * normalised).sum((0, 2, 3))
    mean_g, mean_product = sum_over_processes(torch.stack([of_bias, of_weight])) / count
    scale = inverse if weight is None else inverse * weight
    of_x = scale[:, None, None] * (wide_g - mean_g[:, None, None] - normalised * mean_product[:, None, None])
    return of_x.to(x.dtype), of_weight, of_bias
