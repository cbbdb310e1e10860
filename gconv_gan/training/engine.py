"""Engines that execute an iteration: operation by operation, or captured once as a CUDA graph and replayed.

Both engines call the same function on the same tensors. An iteration reads no host value: every value that changes between iterations
(inputs, learning rates, factors) is a tensor that the host fills before the iteration. Iterations with different operations, such as
with and without a lazy penalty, are *variants*; each variant is captured separately.
"""

from collections.abc import Callable, Hashable, Iterable
from typing import Any, Protocol, runtime_checkable

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils import _pytree as pytree

from gconv_gan.config.base import EngineName
from gconv_gan.runtime.capture import CaptureStream, Recorder, fill, no_waiting, own_stream_is_current, reason

Iteration = Callable[[Any, Any], None]
"""``iteration(variant, inputs)``: inputs are tensors in tuples; it changes tensors in place and returns nothing."""

WARM_UP = 3


@runtime_checkable
class Engine(Protocol):
    """Executes iterations for the loop."""

    def run(self, variant: Hashable, inputs: Any) -> None:
        """Execute one iteration; the host does not wait for the device."""


class EagerEngine:
    """Executes an iteration by calling it."""

    def __init__(self, iteration: Iteration) -> None:
        self._iteration = iteration

    def run(self, variant: Hashable, inputs: Any) -> None:
        """Execute one iteration."""
        self._iteration(variant, inputs)


class GraphEngine:
    """Captures the iteration once per variant, on inputs at fixed addresses, and replays it.

    A capture is preceded by warm-up iterations, whose effects are undone: every tensor of ``state`` is restored afterwards, and a tensor
    that they created (an optimiser's moments) is set to zero, its initial value. If a variant cannot be captured, this and all further
    iterations are called as by the eager engine.

    Args:
        iteration: the function to execute.
        state: returns every tensor that an iteration changes: parameters, buffers, averages, moments, sums of statistics.
        recorder: warms up and captures.
        say: called with one sentence if iterations are not captured.

    """

    def __init__(
        self,
        iteration: Iteration,
        *,
        state: Callable[[], Iterable[Tensor]],
        recorder: Recorder,
        say: Callable[[str], None],
    ) -> None:
        self._iteration, self._state, self._recorder, self._say = iteration, state, recorder, say
        self._captured: dict[Hashable, tuple[list[Any], Callable[[], None]]] = {}
        self._eager = False

    def run(self, variant: Hashable, inputs: Any) -> None:
        """Execute one iteration."""
        if not self._eager and variant not in self._captured:
            self._capture(variant, inputs)
        if self._eager:
            self._iteration(variant, inputs)
            return
        static, replay = self._captured[variant]
        fill(static, inputs)
        replay()

    def _capture(self, variant: Hashable, inputs: Any) -> None:
        leaves, structure = pytree.tree_flatten(inputs)
        # clone() keeps the strides, such as those of channels_last
        static = [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        kept = pytree.tree_unflatten(static, structure)
        before = [(tensor, tensor.detach().clone()) for tensor in self._state()]

        def iterate() -> None:
            self._iteration(variant, kept)

        def watched() -> None:
            with no_waiting():
                iterate()

        try:
            try:
                for _ in range(WARM_UP - 1):
                    self._recorder.aside(iterate)
                # a failed capture can leave the allocator unusable, so operations that wait for the device are detected here
                self._recorder.aside(watched)
            finally:
                self._set_back(before)
            self._captured[variant] = static, self._recorder.record(iterate)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            for tensor, _ in before:
                tensor.grad = None  # a partial gradient of the failed iteration
            self._eager = True
            self._say(f"iterations are run operation by operation, not as a CUDA graph: {reason(error, caller=__file__)}")

    @torch.no_grad()
    def _set_back(self, before: list[tuple[Tensor, Tensor]]) -> None:
        saved = {id(tensor): value for tensor, value in before}
        for tensor in self._state():
            value = saved.get(id(tensor))
            tensor.detach().zero_() if value is None else tensor.detach().copy_(value)


def build_engine(
    name: EngineName,
    iteration: Iteration,
    *,
    state: Callable[[], Iterable[Tensor]],
    device: torch.device,
    processes: int,
    say: Callable[[str], None],
) -> Engine:
    """Return the engine that ``trainer.engine`` names; "auto": CUDA graphs where one process trains on a CUDA device.

    "cuda_graph" captures several processes too, if NCCL connects them. ``say`` is called if it was requested and is not possible.
    """
    obstacle = _obstacle(device, processes)
    if name == "cuda_graph" and obstacle:
        say(f'iterations are run operation by operation, not as trainer.engine = "cuda_graph" says: {obstacle}')
    if name == "eager" or obstacle or (name == "auto" and processes > 1):
        return EagerEngine(iteration)
    return GraphEngine(iteration, state=state, recorder=recorder_of_run(device), say=say)


def _obstacle(device: torch.device, processes: int) -> str:
    if device.type != "cuda":
        return "it needs a CUDA device"
    if processes > 1 and dist.get_backend() != "nccl":
        return f"{dist.get_backend()} averages gradients on the host, and only NCCL can be captured"
    return ""


def recorder_of_run(device: torch.device) -> CaptureStream:
    """Return a recorder on the current stream, where the run has one of its own, as runs side by side do; else on a new one."""
    return CaptureStream(device, torch.cuda.current_stream(device) if own_stream_is_current(device) else None)
