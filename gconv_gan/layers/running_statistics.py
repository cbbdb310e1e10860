"""What layers with batch statistics share: sums over all processes in training, and running averages for evaluation.

torch's ``SyncBatchNorm`` runs on GPUs only; here two CPU processes must train as one does, on any back end.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
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


_pending: ContextVar[dict[Tensor, int] | None] = ContextVar("batches_to_count", default=None)


@contextmanager
def batches_counted_together() -> Iterator[None]:
    """Add the batches that layers see within the scope to their ``num_batches_tracked`` by one operation, at its end.

    Nested scopes join the outermost. A layer that averages over all batches (momentum None) needs its counter and counts at once.
    """
    if _pending.get() is not None:
        yield
        return
    counted: dict[Tensor, int] = {}
    token = _pending.set(counted)
    try:
        yield
    finally:
        _pending.reset(token)
        if counted:
            torch._foreach_add_(list(counted), list(counted.values()))


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
        self.count_batch()
        for name, statistic in statistics.items():
            buffer = self.get_buffer(name)
            # a tensor, not a number: reading the counter would make the host wait for the device
            factor = self.num_batches_tracked.to(buffer.dtype).reciprocal() if self.momentum is None else self.momentum
            buffer.lerp_(statistic.detach().to(buffer.dtype), factor)

    def count_batch(self) -> None:
        """Add one to ``num_batches_tracked``, now or at the end of ``batches_counted_together``."""
        assert self.num_batches_tracked is not None
        pending = _pending.get()
        if pending is None or self.momentum is None:
            self.num_batches_tracked.add_(1)
        else:
            pending[self.num_batches_tracked] = pending.get(self.num_batches_tracked, 0) + 1

    def reset_running_stats(self) -> None:
        """Forget all batches: the running statistics are those of a new layer."""
        raise NotImplementedError
