"""A CUDA graph on a CPU: operations of a function are recorded with their tensors, and replayed without the function."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from gconv_gan.training.engine import GraphEngine

WARM_UP = 3


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
    """Make graph engines whose replays are recordings; ``recorded`` counts these."""

    def __init__(self) -> None:
        self.recorded = 0
        self.replays = 0
        self.said: list[str] = []

    def engine(self, iteration: Callable[[Any, Any], None], state: Callable[[], Iterable[Tensor]]) -> GraphEngine:
        def record(function: Callable[[], None]) -> Callable[[], None]:
            # a capture executes nothing: the changes of the recorded execution are undone
            before = [(tensor, tensor.detach().clone()) for tensor in state()]
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

        def warm(function: Callable[[], None]) -> None:
            for _ in range(WARM_UP):
                function()

        return GraphEngine(iteration, state=state, record=record, warm=warm, say=self.said.append)
