"""What stops a run before it does harm: non-finite numbers, signals, a full disk."""

import errno
import math
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

import torch
from accelerate import Accelerator
from torch import Tensor


class GuardError(RuntimeError):
    """A run had to stop; nothing was damaged. Entry points exit with code 3."""


class StoppedBySignalError(Exception):
    """A signal ended the run after it was saved. Entry points exit with code 128 + number."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name} after saving")
        self.number = number


class FiniteGuard:
    """Keep the weights of all players as they are from the first gradient that is not finite on, without asking the device.

    The norm of each parameter's gradient is kept until one is not finite, and then no more. ``failed`` [] is 1 from that step on; as
    an optimiser's ``found_inf`` it makes steps leave parameters and moments alone, and it takes the average's weight to 0. The host
    reads it when it waits for the device anyway, and ``require_finite`` then names what was bad.
    """

    def __init__(self, device: torch.device) -> None:
        self.failed = torch.zeros((), device=device)
        self.images = torch.zeros((), dtype=torch.int64, device=device)
        self._norms: dict[str, tuple[list[str], Tensor]] = {}

    @torch.no_grad()
    def watch(self, player: str, gradients: Mapping[str, Tensor], images_seen: Tensor) -> Tensor:
        """Return the norm of all gradients together, and note whether it is finite.

        Args:
            player: whose they are.
            gradients: by the name of their parameter; the same parameters at every step.
            images_seen: images [] seen when the iteration began.

        """
        norms = torch.stack(torch._foreach_norm(list(gradients.values()))).to(self.failed)
        total = torch.linalg.vector_norm(norms)
        if player not in self._norms:
            self._norms[player] = list(gradients), torch.zeros_like(norms)
        _, kept = self._norms[player]
        going_on = self.failed == 0
        kept.copy_(torch.where(going_on, norms, kept))
        self.images.copy_(torch.where(going_on, images_seen, self.images))
        self.failed.copy_(torch.maximum(self.failed, (~total.isfinite()).to(self.failed)))
        return total

    def tensors(self) -> Iterator[Tensor]:
        """Yield every tensor that ``watch`` changes."""
        yield from (self.failed, self.images, *(norms for _, norms in self._norms.values()))

    def require_finite(self) -> None:
        """Raise ``GuardError`` naming the first bad gradient where there was one. Waits for the device."""
        if not self.failed.item():
            return
        found = {
            player: [name for name, norm in zip(names, norms.tolist(), strict=True) if not math.isfinite(norm)]
            for player, (names, norms) in self._norms.items()
        }
        overflows = (player for player, (_, norms) in self._norms.items() if not torch.linalg.vector_norm(norms).isfinite())
        player = next((player for player, bad in found.items() if bad), None) or next(overflows)
        bad = found[player]
        where = f"first in {bad[0]} ({len(bad)} tensors)" if bad else "only in its norm, which overflows"
        raise GuardError(
            f"the {player}'s gradient is not finite after {int(self.images)} images, {where}; its weights were not touched. "
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
