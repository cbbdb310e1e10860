"""What stops a run before it does harm: non-finite numbers, signals, a full disk."""

import errno
import math
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch
from accelerate import Accelerator
from torch import Tensor, nn


class GuardError(RuntimeError):
    """A run had to stop; nothing was damaged. Entry points exit with code 3."""


class StoppedBySignalError(Exception):
    """A signal ended the run after it was saved. Entry points exit with code 128 + number."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name} after saving")
        self.number = number


def require_finite(norm: Tensor, network: nn.Module, player: str, images_seen: int) -> None:
    """Raise ``GuardError`` naming the first bad gradient where the gradient's norm is not finite. Call before the optimiser steps."""
    if math.isfinite(norm.item()):
        return
    bad = [name for name, p in network.named_parameters() if p.grad is not None and not torch.isfinite(p.grad).all()]
    where = f"first in {bad[0]} ({len(bad)} tensors)" if bad else "only in its norm, which overflows"
    raise GuardError(
        f"the {player}'s gradient is not finite after {images_seen} images, {where}; its weights were not touched. "
        "Lower the learning rate or set trainer.max_grad_norm, and resume from the last checkpoint"
    )


@contextmanager
def disk_full_is_a_guard(folder: object) -> Iterator[None]:
    """Turn "no space left on device" into a ``GuardError`` that names ``folder``."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise GuardError(f"the disk that holds {folder} is full; earlier checkpoints are whole. Free some space and start again") from error


@contextmanager
def noticing_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in the yielded list instead of dying, so that the loop can save first; a second one kills."""
    received: list[int] = []

    def notice(number: int, _: FrameType | None) -> None:
        received.append(number)
        signal.signal(number, previous[signal.Signals(number)])

    previous = {number: signal.signal(number, notice) for number in (signal.SIGINT, signal.SIGTERM)}
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
