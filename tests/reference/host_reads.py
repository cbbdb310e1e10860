"""A recorder of every ATen operation, which notes those that no captured iteration may contain.

It works on a CPU: forward, backward, second backward and fused optimisers pass through a dispatch mode. What it cannot see: Python
numbers that are baked in (hence the comparison of scalar arguments at two points of a schedule), and operations that a GPU
performs otherwise.
"""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from gconv_gan.training.gan_iteration import GANIteration

READS = {
    "_local_scalar_dense",  # item, float, int, bool, slicing by a tensor
    "nonzero",
    "masked_select",
    "equal",
    "allclose",
    "_unique2",
    "bincount",
    "_linalg_check_errors",
}
DRAWS = {
    "rand",
    "randn",
    "randint",
    "randperm",
    "bernoulli",
    "bernoulli_",
    "multinomial",
    "normal",
    "normal_",
    "uniform_",
    "native_dropout",
}
PLUMBING = {"_record_function_enter_new", "_record_function_exit"}  # of torch's profiler, around optimisers


@dataclass
class Recording:
    """The operations of one iteration, each with the shapes of its tensors and its other arguments; and the offences among them."""

    operations: list[str] = field(default_factory=list)
    offences: list[str] = field(default_factory=list)


class Recorder(TorchDispatchMode):
    """Record what is run within its scope."""

    def __init__(self) -> None:
        super().__init__()
        self.recording = Recording()
        self._stack = ExitStack()
        self._thread = threading.get_ident()

    def __enter__(self) -> "Recorder":
        for name in ("tolist", "numpy", "__repr__"):  # these read a CPU tensor without any operation
            self._stack.enter_context(patch.object(Tensor, name, self._noted(name, getattr(Tensor, name))))
        super().__enter__()
        return self

    def __exit__(self, *how: Any) -> None:
        super().__exit__(*how)
        self._stack.close()

    def _noted(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def noted(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() == self._thread:  # not that of a tracker's writer
                self._note(f"Tensor.{name}")
            return method(tensor, *args, **kwargs)

        return noted

    def _note(self, what: str) -> None:
        self.recording.offences.append(f"{what} in {_line()}")

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.split("::")[1]
        if name not in PLUMBING:
            self.recording.operations.append(f"{name}({', '.join(map(described, (*args, *kwargs.items())))})")
            offence = offending(name, str(func), args, kwargs)
            if offence is not None:
                self._note(offence)
        return func(*args, **kwargs)


def offending(name: str, overload: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """Return what is wrong with an operation; None where nothing is."""
    if name in READS or overload == "aten.repeat_interleave.Tensor":
        return f"host read by {name}"
    if name in ("index", "index_put", "index_put_") and any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1]):
        return f"{name} by a mask, whose size is data"
    if name == "_to_copy" and kwargs.get("device") not in (None, args[0].device):
        return "copy between devices"
    if name == "lift_fresh":
        return "a tensor made from numbers of the host"
    if name == "native_dropout" or name in DRAWS and kwargs.get("generator") is None:
        return f"{name} from the global generator"
    return None


def described(value: Any) -> str:
    """Return an argument as text: shape and type of a tensor, the value of anything else."""
    match value:
        case Tensor():
            return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
        case list() | tuple():
            return f"[{', '.join(map(described, value))}]"
        case torch.Generator():
            return "generator"
    return repr(value)


def _line() -> str:
    """Return the innermost line of the package that is being run."""
    frame = sys._getframe(2)
    while frame.f_back is not None and "/gconv_gan/" not in frame.f_code.co_filename:
        frame = frame.f_back
    return f"{frame.f_code.co_filename.rpartition('/gconv_gan/')[2]}:{frame.f_lineno} ({frame.f_code.co_name})"


@dataclass
class Watched:
    """Two iterations of a run: their recordings, and where the tensors of its state were."""

    recordings: list[Recording] = field(default_factory=list)
    addresses: list[list[int]] = field(default_factory=list)

    def check(self) -> None:
        """Fail for an offence, a tensor that moved, or an operation or argument that differs between the two."""
        for recording in self.recordings:
            assert not recording.offences, "\n".join(dict.fromkeys(recording.offences))
        first, second = self.recordings
        pairs = zip(first.operations, second.operations, strict=False)
        differing = next((f"operation {number}: {a} | {b}" for number, (a, b) in enumerate(pairs) if a != b), None)
        assert differing is None, differing
        assert len(first.operations) == len(second.operations)
        assert self.addresses[0] == self.addresses[1], "a tensor of the run's state moved"


@contextmanager
def watching(*numbers: int) -> Iterator[Watched]:
    """Record the iterations of these numbers, from 0, of the run within the scope."""
    watched, run, count = Watched(), GANIteration.__call__, 0

    def called(iteration: GANIteration, *args: Any, **kwargs: Any) -> None:
        nonlocal count
        if count in numbers:
            watched.addresses.append(addresses(iteration))
            with Recorder() as recorder:
                run(iteration, *args, **kwargs)
            watched.recordings.append(recorder.recording)
        else:
            run(iteration, *args, **kwargs)
        count += 1

    with patch.object(GANIteration, "__call__", called):
        yield watched


def addresses(iteration: GANIteration) -> list[int]:
    """Return where every parameter, buffer, average, moment and learning rate lies."""
    state = iteration.state
    tensors = [tensor for network in state.networks().values() for tensor in network.state_dict().values()]
    for optimizer in state.optimizers().values():
        tensors += [value for slots in optimizer.state.values() for value in slots.values()]
        tensors += [group["lr"] for group in optimizer.param_groups]
    return [tensor.data_ptr() for tensor in tensors]
