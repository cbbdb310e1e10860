"""Copies between host and device for which neither waits, through pinned memory."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor


def copied_to_host(tensor: Shaped[Tensor, "*s"]) -> Callable[[], Shaped[Tensor, "*s"]]:
    """Start copying a tensor to the host; return a function that waits for this copy, not for later work, and returns it."""
    if tensor.device.type != "cuda":
        return lambda: tensor.cpu()
    copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    copy.copy_(tensor, non_blocking=True)
    event: Any = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(tensor.device))

    def finished() -> Tensor:
        event.synchronize()
        return copy

    return finished


def copied_to_device(tensor: Shaped[Tensor, "*s"], device: torch.device) -> Shaped[Tensor, "*s"]:
    """Return a tensor on the device, which may still be copying it."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()  # from other memory, the host would wait for the copy
    return tensor.to(device, non_blocking=True)
