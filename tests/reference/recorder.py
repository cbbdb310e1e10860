"""A CUDA graph on a CPU: operations of a function are recorded with their tensors, and replayed without the function."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from gconv_gan.training.engine import GraphEngine


class _Recording(TorchDispatchMode):
    """Execute, and keep each operation with its arguments and results."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, tuple[Any, ...], dict[str, Any], list[Tensor]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        # a replay writes new results into the recorded tensors; views and in-place changes need no copy
        given = {tensor.untyped_storage().data_ptr() for tensor in pytree.tree_leaves((args, kwargs)) if isinstance(tensor, Tensor)}
        made = [x if isinstance(x, Tensor) and x.untyped_storage().data_ptr() not in given else None for x in pytree.tree_leaves(result)]
        self.operations.append((func, args, kwargs, made))
        return result

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, made in self.operations:
            for target, value in zip(made, pytree.tree_leaves(func(*args, **kwargs)), strict=True):
                if target is not None:
                    target.copy_(value)


class Recorder:
    """Records in place of captures; ``recorded``, ``replays`` and ``warmed`` count its functions, ``said`` keeps the engines' sentences."""

    def __init__(self, state: Callable[[], Iterable[Tensor]] = tuple) -> None:
        self.recorded = 0
        self.replays = 0
        self.warmed = 0
        self.said: list[str] = []
        self._state = state

    def engine(self, iteration: Callable[[Any, Any], None], state: Callable[[], Iterable[Tensor]]) -> GraphEngine:
        """Return a graph engine whose replays are recordings."""
        self._state = state
        return GraphEngine(iteration, state=state, recorder=self, say=self.said.append)

    def aside(self, function: Callable[[], None]) -> None:
        self.warmed += 1
        function()

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        # a capture executes nothing: the changes of the recorded execution are undone
        before = [(tensor, tensor.detach().clone()) for tensor in self._state()]
        with _Recording() as recording:
            function()
        with torch.no_grad():
            for tensor, value in before:
                tensor.detach().copy_(value)
        self.recorded += 1

        def replay() -> None:
            self.replays += 1
            recording.replay()

        return replay
