"""How an iteration is executed: operation by operation, or captured once as a CUDA graph and replayed.

Both engines call the same function on the same tensors. An iteration touches no host value: everything that changes from one to the
next (inputs, learning rates, factors) is a tensor that the host fills beforehand. What differs in its operations is a *variant* (with
and without a lazy penalty, say) and captured by itself.
"""

import gc
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

EngineName = Literal["auto", "eager", "cuda_graph"]
Iteration = Callable[[Any, Any], None]
"""``iteration(variant, inputs)``: inputs are tensors in tuples; it changes tensors in place and returns nothing."""

WARM_UP = 3


@runtime_checkable
class Engine(Protocol):
    """What the loop runs iterations with."""

    def run(self, variant: Hashable, inputs: Any) -> None:
        """Execute one iteration; the host does not wait for the device."""


class EagerEngine:
    """Call the iteration."""

    def __init__(self, iteration: Iteration) -> None:
        self._iteration = iteration

    def run(self, variant: Hashable, inputs: Any) -> None:
        """Execute one iteration."""
        self._iteration(variant, inputs)


class GraphEngine:
    """Capture the iteration once a variant, on inputs that stay where they are, and replay it.

    A capture is preceded by warm-up iterations, which leave no trace: every tensor of ``state`` is set back afterwards, and one that
    came into being meanwhile (an optimiser's moments) is set to zero, which is where optimisers begin.

    Args:
        iteration: the function.
        state: returns every tensor that an iteration changes: parameters, buffers, averages, moments, sums of statistics.
        record: ``record(function)`` executes nothing and returns what replays the operations of ``function``.
        warm: runs the warm-up, on the stream of the capture.

    """

    def __init__(
        self,
        iteration: Iteration,
        *,
        state: Callable[[], Iterable[Tensor]],
        record: Callable[[Callable[[], None]], Callable[[], None]],
        warm: Callable[[Callable[[], None]], None],
    ) -> None:
        self._iteration, self._state, self._record, self._warm = iteration, state, record, warm
        self._static: dict[Hashable, list[Any]] = {}
        self._replays: dict[Hashable, Callable[[], None]] = {}

    def run(self, variant: Hashable, inputs: Any) -> None:
        """Execute one iteration."""
        leaves, structure = pytree.tree_flatten(inputs)
        if variant not in self._replays:
            self._capture(variant, leaves, structure)
        with torch.no_grad():
            for static, leaf in zip(self._static[variant], leaves, strict=True):
                if isinstance(static, Tensor):
                    static.copy_(leaf, non_blocking=True)
        self._replays[variant]()

    def _capture(self, variant: Hashable, leaves: list[Any], structure: pytree.TreeSpec) -> None:
        # clone() keeps the strides: a channels_last batch stays one
        static = [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        inputs = pytree.tree_unflatten(static, structure)
        before = {id(tensor): (tensor, tensor.detach().clone()) for tensor in self._state()}

        def iterate() -> None:
            self._iteration(variant, inputs)

        self._warm(iterate)
        with torch.no_grad():
            for tensor in self._state():
                _, saved = before.get(id(tensor), (tensor, None))
                tensor.detach().copy_(saved) if saved is not None else tensor.detach().zero_()
        self._static[variant] = static
        self._replays[variant] = self._record(iterate)


def cuda_graph_engine(iteration: Iteration, *, state: Callable[[], Iterable[Tensor]], device: torch.device) -> GraphEngine:
    """Return the engine that captures CUDA graphs, all on one stream of its own and in one memory pool.

    One stream for warm-up and capture: autograd remembers the stream on which a parameter's gradient was first accumulated, and cuBLAS
    keeps its workspace by stream. Replays are launched on the current stream, in order with what fills their inputs.
    """
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    pool = torch.cuda.graph_pool_handle()

    def warm(iterate: Callable[[], None]) -> None:
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                iterate()
        torch.cuda.current_stream(device).wait_stream(stream)
        torch.cuda.synchronize(device)

    def record(iterate: Callable[[], None]) -> Callable[[], None]:
        graph = torch.cuda.CUDAGraph()
        gc.collect()  # a tensor that is freed during the capture would free memory of the graph's pool
        with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            iterate()
        return graph.replay

    return GraphEngine(iteration, state=state, record=record, warm=warm)
