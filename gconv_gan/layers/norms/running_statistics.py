"""Base of layers with batch statistics: sums over all processes in training, and running averages for evaluation.

torch's ``SyncBatchNorm`` runs on GPUs only; these statistics do not depend on the number of processes on any back end, also on CPUs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gconv_gan.runtime.modes import evaluating


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


def sum_over_processes(x: Tensor) -> Tensor:
    """Return the sum of ``x`` over all processes; its gradient is that of the sum of all processes' losses."""
    total: Tensor = _SumOverProcesses.apply(x)
    return total


_alone: ContextVar[bool] = ContextVar("statistics_of_one_process", default=False)


def several_processes() -> bool:
    """Return whether statistics are sums over more than one process."""
    return not _alone.get() and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


@contextmanager
def statistics_of_one_process() -> Iterator[None]:
    """Take statistics from this process's images alone: each process passes the whole global batch."""
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


_pending: ContextVar[dict[Tensor, int] | None] = ContextVar("batches_to_count", default=None)


@contextmanager
def batches_counted_together() -> Iterator[None]:
    """Update the ``num_batches_tracked`` of all layers by one operation at the end of the scope.

    Nested scopes share the update of the outermost. A layer that reads its counter in every pass updates it immediately.
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
    Sums are weighted by the numbers of values of the processes, so that unequal shares of a batch give its exact statistics.

    Attributes:
        over_processes: share statistics between processes (default true).
        momentum: m; None for the plain average over batches.

    """

    over_processes: bool = True
    momentum: float | None
    num_batches_tracked: Tensor | None

    def shares_statistics(self) -> bool:
        """Return whether this forward pass uses sums over several processes."""
        return self.training and self.over_processes and several_processes()

    def total(self, x: Tensor) -> Tensor:
        """Return the sum of ``x`` over the processes whose statistics are shared: x itself with a single process."""
        return sum_over_processes(x) if self.shares_statistics() else x

    def mean(self, sums: Tensor, count: int) -> tuple[Tensor, Tensor | int]:
        """Return mean and total count over all processes; this process has ``count`` values with the sums ``sums`` [C]."""
        if not self.shares_statistics():
            return sums / count, count
        totals = self.total(torch.cat([sums, sums.new_full((1,), count)]))
        return totals[:-1] / totals[-1], totals[-1]

    @torch.no_grad()
    def track(self, **statistics: Tensor) -> None:
        """Update the running statistic of each name with that of this batch and count the batch."""
        if self.num_batches_tracked is None:
            return
        self.count_batch()
        for name, statistic in statistics.items():
            buffer = self.get_buffer(name)
            # a tensor, since reading the counter as a number would synchronise host and device
            factor = self.num_batches_tracked.to(buffer.dtype).reciprocal() if self.momentum is None else self.momentum
            buffer.lerp_(statistic.detach().to(buffer.dtype), factor)

    def counts_immediately(self) -> bool:
        """Return whether the next pass reads the counter, so that its update cannot wait for the end of ``batches_counted_together``."""
        return self.momentum is None

    def count_batch(self) -> None:
        """Add one to ``num_batches_tracked``, now or at the end of ``batches_counted_together``."""
        assert self.num_batches_tracked is not None
        pending = _pending.get()
        if pending is None or self.counts_immediately():
            self.num_batches_tracked.add_(1)
        else:
            pending[self.num_batches_tracked] = pending.get(self.num_batches_tracked, 0) + 1

    def reset_running_stats(self) -> None:
        """Reset the running statistics to those of a new layer."""
        raise NotImplementedError


def with_running_statistics(network: nn.Module) -> list[Any]:
    """Return the layers of a network that use running statistics in evaluation."""
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d | RunningStatistics)]


@contextmanager
def estimating_statistics(network: nn.Module) -> Iterator[None]:
    """Replace all running statistics by plain averages over the batches that pass within the scope, which one process computes alone.

    All other layers are in evaluation mode meanwhile.
    """
    norms = with_running_statistics(network)
    momenta = [norm.momentum for norm in norms]
    with evaluating(network), statistics_of_one_process(), torch.no_grad():
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a cumulative average
            norm.train()
        yield
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
