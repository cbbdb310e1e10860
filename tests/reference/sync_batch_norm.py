"""What the kernels of torch's ``SyncBatchNorm`` compute, as formulas with their arguments."""

import torch
from torch import Tensor


def _maps(values: Tensor) -> Tensor:
    return values[:, None, None]


def batch_norm_stats(input: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Return mean and 1 / √(variance + ε) per channel."""
    values = input.transpose(0, 1).flatten(1)
    return values.mean(1), 1 / (values.var(1, correction=0) + eps).sqrt()


def batch_norm_gather_stats_with_counts(
    input: Tensor, mean: Tensor, invstd: Tensor, running_mean: None, running_var: None, momentum: float, eps: float, counts: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the statistics of all processes from those [processes, c] of each."""
    assert input.dtype == counts.dtype  # the kernel reads the counts in the type of its first argument
    squares = (1 / invstd.square() - eps + mean.square()) * counts[:, None]
    joint = (mean * counts[:, None]).sum(0) / counts.sum()
    return joint, 1 / (squares.sum(0) / counts.sum() - joint.square() + eps).sqrt()


def batch_norm_elemt(input: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, invstd: Tensor, eps: float) -> Tensor:
    """Return the normalised values, scaled and shifted."""
    normalised = (input - _maps(mean)) * _maps(invstd)
    return normalised if weight is None or bias is None else normalised * _maps(weight) + _maps(bias)


def batch_norm_backward_reduce(
    grad_out: Tensor, input: Tensor, mean: Tensor, invstd: Tensor, weight: Tensor | None, input_g: bool, weight_g: bool, bias_g: bool
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Return Σ g, Σ g (x - μ), and on request the gradients of scale and shift."""
    assert input_g
    sum_dy, sum_dy_xmu = grad_out.sum((0, 2, 3)), (grad_out * (input - _maps(mean))).sum((0, 2, 3))
    return sum_dy, sum_dy_xmu, sum_dy_xmu * invstd if weight_g else None, sum_dy if bias_g else None


def batch_norm_backward_elemt(
    grad_out: Tensor,
    input: Tensor,
    mean: Tensor,
    invstd: Tensor,
    weight: Tensor | None,
    sum_dy: Tensor,
    sum_dy_xmu: Tensor,
    count: Tensor,
) -> Tensor:
    """Return the gradient of the input from the sums over all processes and the counts [processes] of each."""
    assert count.dtype == torch.int32
    total = count.sum()
    centred = grad_out - _maps(sum_dy / total) - (input - _maps(mean)) * _maps(invstd.square() * sum_dy_xmu / total)
    return centred * _maps(invstd if weight is None else invstd * weight)


KERNELS = {
    one.__name__: one
    for one in (
        batch_norm_stats,
        batch_norm_gather_stats_with_counts,
        batch_norm_elemt,
        batch_norm_backward_reduce,
        batch_norm_backward_elemt,
    )
}
"""Name in ``torch`` -> formula."""
