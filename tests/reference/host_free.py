"""A dispatch mode that refuses operations that read values on the host or copy between host and device."""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

# they read values, have shapes that depend on values, or draw from a generator with a state
READING = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2", "bincount", "_linalg_check_errors", "lift_fresh"}
DRAWING = {"rand", "randn", "randint", "randperm", "bernoulli", "bernoulli_", "multinomial", "normal_", "uniform_", "random_"}
UNSEEN = ("tolist", "numpy", "cpu")  # methods that dispatch nothing on a CPU


class HostReadError(AssertionError):
    """An operation that a recorded sequence of device operations cannot hold."""


class HostFree(TorchDispatchMode):
    """Refuse host reads and random generators; keep the name and the Python numbers of every operation in ``calls``."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in READING | DRAWING:
            raise HostReadError(name)
        if name in ("index", "index_put", "index_put_") and any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1]):
            raise HostReadError(f"{name} by a mask")
        kwargs = kwargs or {}
        if name == "_to_copy" and kwargs.get("device", args[0].device) != args[0].device:
            raise HostReadError("copy between devices")
        numbers = tuple(value for value in (*args, *kwargs.values()) if isinstance(value, bool | int | float))
        self.calls.append((name, numbers))
        return func(*args, **kwargs)


class HostReads(TorchDispatchMode):
    """Count the operations for which the host would wait for a device."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func.overloadpacket.__name__ in READING - {"lift_fresh"}  # which copies to the device
        return func(*args, **(kwargs or {}))


@contextmanager
def host_free() -> Iterator[HostFree]:
    """Refuse, in the body, what ``HostFree`` refuses and the methods of tensors that it does not see."""

    def refused(name: str) -> Callable[..., Any]:
        def refuse(*_: Any, **__: Any) -> Any:
            raise HostReadError(name)

        return refuse

    with mock.patch.multiple(Tensor, **{name: refused(name) for name in UNSEEN}), HostFree() as mode:
        yield mode


class HostFreeEngine:
    """Run iterations as the eager engine does, and refuse those that a CUDA graph could not hold.

    The first iteration of a variant may make constants and optimiser state. The later ones read nothing on the host, draw from no
    generator, and are one sequence of operations with the same Python numbers.
    """

    def __init__(self, iteration: Callable[[Any, Any], None]) -> None:
        self.iteration = iteration
        self.warm: set[Hashable] = set()
        self.calls: dict[Hashable, list[tuple[str, tuple[Any, ...]]]] = {}

    def run(self, variant: Hashable, inputs: Any) -> None:
        if variant not in self.warm:
            self.warm.add(variant)
            self.iteration(variant, inputs)
            return
        with host_free() as mode:
            self.iteration(variant, inputs)
        known = self.calls.setdefault(variant, mode.calls)
        for number, (before, now) in enumerate(zip(known, mode.calls, strict=True)):
            assert before == now, f"operation {number} of {len(known)}: {before} became {now}"
