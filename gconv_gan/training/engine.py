"""Engines that execute an iteration: operation by operation, or captured once as a CUDA graph and replayed.

Both engines call the same function on the same tensors. An iteration reads no host value: every value that changes between iterations
(inputs, learning rates, factors) is a tensor that the host fills before the iteration. Iterations with different operations, such as
with and without a lazy penalty, are *variants*; each variant is captured separately.
"""

import gc
import traceback
import warnings
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from gconv_gan.config.base import EngineName

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
        record: ``record(function)`` captures ``function`` without executing it and returns a function that replays its operations;
            it raises ``RuntimeError`` if an operation cannot be captured.
        warm: runs the warm-up on the stream of the capture; it may raise ``RuntimeError`` too.
        say: called with one sentence if iterations are not captured.

    """

    def __init__(
        self,
        iteration: Iteration,
        *,
        state: Callable[[], Iterable[Tensor]],
        record: Callable[[Callable[[], None]], Callable[[], None]],
        warm: Callable[[Callable[[], None]], None],
        say: Callable[[str], None],
    ) -> None:
        self._iteration, self._state, self._record, self._warm, self._say = iteration, state, record, warm, say
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
        with torch.no_grad():
            for to, leaf in zip(static, pytree.tree_leaves(inputs), strict=True):
                if isinstance(to, Tensor):
                    to.copy_(leaf, non_blocking=True)
        replay()

    def _capture(self, variant: Hashable, inputs: Any) -> None:
        leaves, structure = pytree.tree_flatten(inputs)
        # clone() keeps the strides, such as those of channels_last
        static = [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        kept = pytree.tree_unflatten(static, structure)
        before = [(tensor, tensor.detach().clone()) for tensor in self._state()]

        def iterate() -> None:
            self._iteration(variant, kept)

        try:
            try:
                self._warm(iterate)
            finally:
                self._set_back(before)
            self._captured[variant] = static, self._record(iterate)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            for tensor, _ in before:
                tensor.grad = None  # a partial gradient of the failed iteration
            self._eager = True
            self._say(f"iterations are run operation by operation, not as a CUDA graph: {_place(error)} ({_first_line(error)})")

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

    ``say`` is called if "cuda_graph" was requested and is not possible.
    """
    obstacle = "it needs a CUDA device" if device.type != "cuda" else "several processes average their gradients" if processes > 1 else ""
    if name == "cuda_graph" and obstacle:
        say(f'iterations are run operation by operation, not as trainer.engine = "cuda_graph" says: {obstacle}')
    return EagerEngine(iteration) if name == "eager" or obstacle else cuda_graph_engine(iteration, state=state, device=device, say=say)


def cuda_graph_engine(
    iteration: Iteration, *, state: Callable[[], Iterable[Tensor]], device: torch.device, say: Callable[[str], None]
) -> GraphEngine:
    """Return the engine that captures CUDA graphs, all on one separate stream and in one memory pool.

    Warm-up and capture use the same stream: autograd stores the stream on which a parameter's gradient was first accumulated, and cuBLAS
    has one workspace per stream. Replays are launched on the current stream, after the copies that fill their inputs.
    """
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    pool = torch.cuda.graph_pool_handle()

    def warm(iterate: Callable[[], None]) -> None:
        stream.wait_stream(torch.cuda.current_stream(device))
        try:
            with torch.cuda.stream(stream):
                for _ in range(WARM_UP - 1):
                    iterate()
                # a failed capture can leave the allocator unusable, so operations that wait for the device are detected here
                with no_waiting():
                    iterate()
        finally:
            torch.cuda.synchronize(device)

    def record(iterate: Callable[[], None]) -> Callable[[], None]:
        graph = torch.cuda.CUDAGraph()
        gc.collect()
        collecting = gc.isenabled()
        gc.disable()  # freeing a tensor or graph during the capture would abort it
        try:
            with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
                iterate()
        finally:
            if collecting:
                gc.enable()
        return graph.replay

    return GraphEngine(iteration, state=state, record=record, warm=warm, say=say)


@contextmanager
def no_waiting() -> Iterator[None]:
    """Make every operation that waits for a CUDA device raise ``RuntimeError`` in the body."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Synchronization debug mode")
        before = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def _place(error: BaseException) -> str:
    """Return the innermost source line of this package, outside this file, in an error's traceback."""
    package = Path(__file__).parents[1]
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(str(package))]
    frames = [frame for frame in frames if frame.filename != __file__]
    if not frames:
        return "the capture failed"
    return f"{Path(frames[-1].filename).relative_to(package.parent)}, line {frames[-1].lineno}, cannot be captured: {frames[-1].line}"


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
