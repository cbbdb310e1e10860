"""What layers with batch statistics share: sums over all processes in training, and running averages for evaluation.

torch's ``SyncBatchNorm`` runs on GPUs only; here two CPU processes must train as one does, on any back end.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class _SumOverProcesses(torch.autograd.Function):
    """Sum of a tensor over all processes; its own adjoint, so it may be differentiated twice."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _SumOverProcesses.apply(gradient)


def several_processes() -> bool:
    """Tell whether training runs on more than one process."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


class RunningStatistics(nn.Module):
    r"""Base of layers whose training statistics are those of the batch of all processes and whose evaluation uses averages.

    .. math:: r \leftarrow (1 - m)\, r + m\, s

    for every running statistic r, with s that of the batch and m the ``momentum``, or 1 / (batches seen) where it is None.
    Sums are weighted by what each process holds, so unequal shares of a batch give its statistics all the same.

    Attributes:
        over_processes: share statistics between processes (default true).
        momentum: m; None for the plain average over batches.

    """

    over_processes: bool = True
    momentum: float | None
    num_batches_tracked: Tensor | None

    def shares_statistics(self) -> bool:
        """Tell whether this forward pass uses sums over several processes."""
        return self.training and self.over_processes and several_processes()

    def total(self, x: Tensor) -> Tensor:
        """Return the sum of ``x`` over the processes whose statistics are shared: x itself with a single one."""
        if not self.shares_statistics():
            return x
        total: Tensor = _SumOverProcesses.apply(x)
        return total

    def mean(self, sums: Tensor, count: int) -> tuple[Tensor, Tensor | int]:
        """Return the mean over all processes of what this one has ``count`` times and sums to ``sums`` [C], and the whole count."""
        if not self.shares_statistics():
            return sums / count, count
        totals = self.total(torch.cat([sums, sums.new_full((1,), count)]))
        return totals[:-1] / totals[-1], totals[-1]

    @torch.no_grad()
    def track(self, **statistics: Tensor) -> None:
        """Move the buffer of each name towards this batch's statistic and count the batch."""
        if self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        factor = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        for name, statistic in statistics.items():
            buffer = self.get_buffer(name)
            buffer.lerp_(statistic.detach().to(buffer.dtype), factor)

    def reset_running_stats(self) -> None:
        """Forget all batches: the running statistics are those of a new layer."""
        raise NotImplementedError
