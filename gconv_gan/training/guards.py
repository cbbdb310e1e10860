"""What stops a run before it does harm: numbers that are not finite, and signals."""

import math
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from gconv_gan.config.errors import GuardError
from gconv_gan.runtime.launcher import LAUNCHER_DIED


class NotFiniteError(GuardError):
    """A gradient is infinite or not a number."""


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
        total: Tensor = torch.linalg.vector_norm(norms)
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
        """Raise ``NotFiniteError`` naming the first bad gradient where there was one. Waits for the device."""
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
        raise NotFiniteError(
            f"the {player}'s gradient is not finite after {int(self.images)} images, {where}; its weights were not touched. "
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
