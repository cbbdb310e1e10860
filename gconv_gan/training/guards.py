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


class FiniteGuard:
    """Stops every optimiser from the first gradient on that is not finite; the host learns of it when it asks.

    All of it lives on the device, in tensors that are changed in place. Fused optimisers leave weights and moments alone where their
    ``found_inf`` is 1; here it stays 1 once a gradient was bad, so that nothing is trained on the losses that follow. BatchNorm's
    running statistics and power iterations move on: a run must not save anything before ``require_finite`` returned.

    Args:
        optimizers: fused ones, of all players.
        device: where they are.
        images_seen: by the run so far.

    Attributes:
        running: whether all gradients so far were finite, a bool on the device.

    """

    def __init__(self, *optimizers: torch.optim.Optimizer, device: torch.device, images_seen: int) -> None:
        self.running = torch.ones((), dtype=torch.bool, device=device)
        self._found_inf = torch.zeros((), device=device)
        self._images = torch.full((), images_seen, dtype=torch.int64, device=device)
        self._norms: dict[str, tuple[list[str], Tensor]] = {}
        for optimizer in optimizers:
            optimizer.found_inf = self._found_inf  # type: ignore[attr-defined]  # read by every fused step()

    def check(self, player: str, network: nn.Module, norms: Tensor, norm: Tensor) -> None:
        """Take in the norms of the gradients of ``network``'s parameters, one each, and that of all. Call before the optimiser steps."""
        if player not in self._norms:
            names = [name for name, parameter in network.named_parameters() if parameter.grad is not None]
            self._norms[player] = names, torch.zeros_like(norms)
        _, kept = self._norms[player]
        torch.where(self.running, norms, kept, out=kept)
        self.running.logical_and_(norm < math.inf)
        torch.logical_not(self.running, out=self._found_inf)

    def count(self, images: int) -> None:
        """Count the images of a step, unless the run has stopped."""
        self._images.add_(self.running, alpha=images)

    def require_finite(self) -> None:
        """Raise ``GuardError`` naming the first bad gradient if there was one. It reads the device: call it where the host waits anyway."""
        if self.running.item():
            return
        for player, (names, norms) in self._norms.items():
            bad = [name for name, finite in zip(names, norms.isfinite().tolist(), strict=True) if not finite]
            if bad or not norms.norm().isfinite():
                where = f"first in {bad[0]} ({len(bad)} tensors)" if bad else "only in its norm, which overflows"
                raise GuardError(
                    f"the {player}'s gradient is not finite after {self._images.item()} images, {where}; its weights were not touched. "
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
