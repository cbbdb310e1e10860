"""CUDA graphs: the operations of a function captured on a stream of their own and replayed, and the reason why some cannot be captured.

A graph holds the addresses of its inputs, of the weights and of cuBLAS's workspace, which belongs to a stream and is freed with any
graph that was captured on it. So every capture has a stream that no other work uses.
"""

import gc
import traceback
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

PRIORITIES = (0, -1)  # torch has 32 streams of each, which it hands out in turn
PER_PRIORITY = 32
STREAMS = len(PRIORITIES) * PER_PRIORITY
"""The number of streams that ``own_stream`` can give out."""

_TAKEN: set[tuple[int | None, int]] = set()
"""Device and number of the streams that ``own_stream`` has given out."""


def own_stream(device: torch.device) -> Any:
    """Return a CUDA stream that no other caller has; it may be given out again when the object is gone.

    Raises:
        RuntimeError: all 64 streams of torch are in use.

    """
    for priority in PRIORITIES:
        for _ in range(PER_PRIORITY):
            stream = torch.cuda.Stream(device, priority=priority)  # type: ignore[no-untyped-call]
            key = stream.device_index, stream.stream_id
            if key not in _TAKEN:
                _TAKEN.add(key)
                weakref.finalize(stream, _TAKEN.discard, key)
                return stream
    raise RuntimeError(f"all {STREAMS} CUDA streams of the process are in use")


@runtime_checkable
class Recorder(Protocol):
    """A place where functions are warmed up and captured."""

    def aside(self, function: Callable[[], None]) -> None:
        """Call a function where it will be captured, after all work so far and before all further work; the host does not wait."""

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        """Capture a function without executing it, and return a function that replays its operations.

        Raises:
            RuntimeError: an operation cannot be captured.

        """
        ...


class CaptureStream:
    """The recorder of a CUDA device: a stream, and a memory pool that all its graphs share.

    Warm-up and capture use the same stream: autograd stores the stream on which a parameter's gradient was first accumulated, and cuBLAS
    has one workspace per stream. Replays are launched on the current stream, and may not overlap.

    Args:
        device: the device.
        stream: its stream; None: one of its own.

    """

    def __init__(self, device: torch.device, stream: Any = None) -> None:
        self.device = device
        self._stream = own_stream(device) if stream is None else stream
        self._pool = torch.cuda.graph_pool_handle()

    def aside(self, function: Callable[[], None]) -> None:
        """See ``Recorder``."""
        current = torch.cuda.current_stream(self.device)
        self._stream.wait_stream(current)
        try:
            with torch.cuda.stream(self._stream):
                function()
        finally:
            current.wait_stream(self._stream)

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        """See ``Recorder``."""
        graph = torch.cuda.CUDAGraph()
        gc.collect()
        collecting = gc.isenabled()
        gc.disable()  # freeing a tensor or graph during the capture would abort it
        try:
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                function()
        finally:
            if collecting:
                gc.enable()
        return graph.replay


def captures(device: torch.device) -> bool:
    """Return whether functions can be captured on the device."""
    return device.type == "cuda"


def recorder(device: torch.device) -> Recorder:
    """Return a new recorder on a device that ``captures``."""
    return CaptureStream(device)


def own_stream_is_current(device: torch.device) -> bool:
    """Return whether the current stream is not the default one, as of runs that are trained side by side."""
    return device.type == "cuda" and torch.cuda.current_stream(device) != torch.cuda.default_stream(device)


class ForwardPass:
    """A function of tensors that changes none, captured once per shape of its inputs and replayed from the third call of a shape on.

    The first call initialises libraries and caches, the second is watched for operations that wait for the device, and the third is
    captured: a shape that occurs once or twice costs nothing. The results of a call belong to the caller. Where nothing can be captured,
    every call executes the function; so it does in runs side by side, since there are too few streams for several of each run.

    Args:
        function: ``function(*inputs)`` with tensors or None gives a tuple of tensors, a function of the inputs and of tensors at fixed
            addresses (weights, which may change in place); everything else about it stays as it was at the third call.
        device: device of inputs and results.
        what: what the function does, for the sentence on the reason why it is not captured.
        say: called with that sentence.

    """

    def __init__(
        self, function: Callable[..., tuple[Tensor, ...]], device: torch.device, *, what: str, say: Callable[[str], None] = print
    ) -> None:
        self._function, self._device, self._what, self._say = function, device, what, say
        self._recorder: Recorder | None = None
        self._refused = False
        self._calls: dict[Any, int] = {}
        self._captured: dict[Any, tuple[list[Any], list[Tensor], Callable[[], None]]] = {}

    @torch.no_grad()
    def __call__(self, *inputs: Tensor | None) -> tuple[Tensor, ...]:
        if self._recorder is None and captures(self._device) and not self._refused and not own_stream_is_current(self._device):
            try:
                self._recorder = recorder(self._device)
            except RuntimeError as error:
                self._refuse(error)
        if self._recorder is None:
            return self._function(*inputs)
        key = tuple(None if x is None else (x.shape, x.dtype, x.stride()) for x in inputs)
        if key in self._captured:
            return self._replay(key, inputs)
        self._calls[key] = self._calls.get(key, 0) + 1
        if self._calls[key] == 1:
            return self._called(self._recorder, inputs)
        try:
            if self._calls[key] == 2:
                with no_waiting():
                    return self._called(self._recorder, inputs)
            self._capture(self._recorder, key, inputs)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self._refuse(error)
            return self._function(*inputs)
        return self._replay(key, inputs)

    def _refuse(self, error: RuntimeError) -> None:
        self._refused, self._recorder = True, None
        self._captured.clear()
        self._say(f"{self._what} runs operation by operation, not as a CUDA graph: {reason(error)}")

    def _called(self, place: Recorder, inputs: tuple[Tensor | None, ...]) -> tuple[Tensor, ...]:
        results: list[Tensor] = []
        place.aside(lambda: results.extend(self._function(*inputs)))
        for result in results:
            if result.is_cuda:  # its memory belongs to the other stream
                result.record_stream(torch.cuda.current_stream(result.device))
        return tuple(results)

    def _capture(self, place: Recorder, key: Any, inputs: tuple[Tensor | None, ...]) -> None:
        static = [None if x is None else x.clone() for x in inputs]
        results: list[Tensor] = []
        replay = place.record(lambda: results.extend(self._function(*static)))
        self._captured[key] = static, results, replay

    def _replay(self, key: Any, inputs: tuple[Tensor | None, ...]) -> tuple[Tensor, ...]:
        static, results, replay = self._captured[key]
        fill(static, inputs)
        replay()
        return tuple(result.clone() for result in results)


@torch.no_grad()
def fill(static: list[Any], values: Any) -> None:
    """Copy the tensors of a tree into those of ``static``, its leaves at fixed addresses; other leaves are left out."""
    for to, leaf in zip(static, pytree.tree_leaves(values), strict=True):
        if isinstance(to, Tensor):
            to.copy_(leaf, non_blocking=True)


@contextmanager
def no_waiting() -> Iterator[None]:
    """Make every operation that waits for a CUDA device raise ``RuntimeError`` in the body; where CUDA is not in use it does nothing."""
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        yield
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Synchronization debug mode")
        before = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def reason(error: BaseException, *, caller: str = __file__) -> str:
    """Return why something cannot be captured: the innermost source line of this package in an error's traceback, and its message.

    Lines of this file and of ``caller`` are left out.
    """
    message = str(error).strip().partition("\n")[0]
    return f"{_place(error, {__file__, caller})} ({message})"


def _place(error: BaseException, own: set[str]) -> str:
    package = Path(__file__).parents[1]
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(str(package))]
    frames = [frame for frame in frames if frame.filename not in own]
    if not frames:
        return "the capture failed"
    return f"{Path(frames[-1].filename).relative_to(package.parent)}, line {frames[-1].lineno}, cannot be captured: {frames[-1].line}"
