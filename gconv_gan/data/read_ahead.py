"""Images that do not lie on the device: a thread reads those of the next call into pinned memory, from which the host need not wait.

The thread reads memory alone and calls nothing of CUDA, which a CUDA graph that is being captured would not allow.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

BUFFERS = 3
"""One is read into, while the device copies from the others."""

Read = Callable[[Int64[Tensor, " b"], UInt8[Tensor, "b 3 s s"]], None]
"""``read(chosen, to)`` writes the images of the numbers ``chosen`` to a tensor."""


@dataclass
class _Buffer:
    images: UInt8[Tensor, "b 3 s s"]
    copied: torch.cuda.Event | None = None
    """When the device has copied the images."""


class ReadAhead:
    """``ahead(chosen)``: the images on the device if ``begin(chosen)`` was the last to be called, else None.

    An error of the thread is raised by this call. The process waits at its end for what the thread is reading.

    Args:
        read: reads images; it is called in a thread, one call at a time.
        shape: (3, S, S).
        device: a CUDA device.

    """

    def __init__(self, read: Read, shape: tuple[int, ...], device: torch.device) -> None:
        self._read, self._shape, self._device = read, shape, device
        self._thread = ThreadPoolExecutor(1, "read ahead")
        self._buffers: list[_Buffer] = []
        self._next = 0
        self._begun: tuple[bytes, _Buffer, Future[None]] | None = None

    def begin(self, chosen: Int64[Tensor, " b"]) -> None:
        """Start reading the images of the next call; those begun before are given up."""
        if self._begun is not None:
            self._begun[2].cancel()
        buffer = self._free(len(chosen))
        self._begun = _key(chosen), buffer, self._thread.submit(self._read, chosen, buffer.images)

    def __call__(self, chosen: Int64[Tensor, " b"]) -> UInt8[Tensor, "b 3 s s"] | None:
        if self._begun is None or self._begun[0] != _key(chosen):
            return None
        (_, buffer, reading), self._begun = self._begun, None
        reading.result()
        images, buffer.copied = sent(buffer.images, self._device)
        return images

    def _free(self, count: int) -> _Buffer:
        """Return the buffer that was used longest ago, after the device has copied from it."""
        if not self._buffers or len(self._buffers[0].images) != count:
            self._buffers = [_Buffer(pinned((count, *self._shape))) for _ in range(BUFFERS)]
        buffer = self._buffers[self._next]
        self._next = (self._next + 1) % BUFFERS
        if buffer.copied is not None:
            buffer.copied.synchronize()
        return buffer


def pinned(shape: tuple[int, ...]) -> UInt8[Tensor, "b 3 s s"]:
    """Return pinned memory for images."""
    return torch.empty(shape, dtype=torch.uint8, pin_memory=True)


def sent(images: UInt8[Tensor, "b 3 s s"], device: torch.device) -> tuple[UInt8[Tensor, "b 3 s s"], torch.cuda.Event]:
    """Copy images from pinned memory to the device without waiting; return them and the event after the copy."""
    copies = images.to(device, non_blocking=True)
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(device))
    return copies, event


def _key(chosen: Int64[Tensor, " b"]) -> bytes:
    return chosen.numpy().tobytes()
