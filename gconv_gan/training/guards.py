"""What stops a run before it does harm: numbers that are not finite, and signals."""

import math
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from gconv_gan.config.errors import GuardError
from gconv_gan.runtime.launcher import LAUNCHER_DIED


class NotFiniteError(GuardError):
    """A gradient is infinite or not a number."""


def require_finite(norm: Tensor, network: nn.Module, player: str, images_seen: int) -> None:
    """Raise ``NotFiniteError`` naming the first bad gradient where the gradient's norm is not finite. Call before the optimiser steps."""
    if math.isfinite(norm.item()):
        return
    bad = [name for name, p in network.named_parameters() if p.grad is not None and not torch.isfinite(p.grad).all()]
    where = f"first in {bad[0]} ({len(bad)} tensors)" if bad else "only in its norm, which overflows"
    raise NotFiniteError(
        f"the {player}'s gradient is not finite after {images_seen} images, {where}; its weights were not touched. "
        "Lower the learning rate or set trainer.max_grad_norm, and resume from the last checkpoint"
    )


@contextmanager
def noticing_signals() -> Iterator[list[int]]:
    """Collect the signals that end a process in the yielded list instead of dying, so that the loop can save first.

    SIGINT, SIGTERM, SIGHUP (the terminal was closed; not under nohup), SIGPIPE (nobody reads the output any more, see ``Report.say``),
    and the launcher's death, which counts as SIGTERM. A second one that a user can send kills.
    """
    received: list[int] = []

    def notice(number: int, _: FrameType | None) -> None:
        if number == LAUNCHER_DIED:  # Linux sends one for each of the launcher's threads, as they end in turn
            received.append(signal.SIGTERM)
        else:
            received.append(number)
            signal.signal(number, previous[number])

    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGPIPE]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    if LAUNCHER_DIED is not None:
        numbers.append(LAUNCHER_DIED)
    previous: dict[int, Any] = {number: signal.signal(number, notice) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def stop_signal(accelerator: Accelerator, signals: list[int]) -> int:
    """Return the number of a signal that any process has received, 0 for none, the same on every process."""
    mine = signals[0] if signals else 0
    if accelerator.num_processes == 1:
        return mine
    everyone = accelerator.gather(torch.tensor([mine], device=accelerator.device))
    return int(everyone.max())
