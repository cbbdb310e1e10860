"""Guards that stop a run: non-finite gradients, and signals."""

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
    """Freeze the weights of all players from the first non-finite gradient on, without a host read.

    The guard stores the norm of each parameter's gradient and stops storing at the first non-finite one. ``failed`` [] is 1 from that
    step on. As ``found_inf`` of the optimisers it makes their steps leave parameters and moments unchanged, and it sets the weight of the
    network in the average to 0. The host reads it when it waits for the device anyway; ``require_finite`` then names the gradient.
    """

    def __init__(self, device: torch.device) -> None:
        self.failed = torch.zeros((), device=device)
        self.images = torch.zeros((), dtype=torch.int64, device=device)
        self._norms: dict[str, tuple[list[str], Tensor]] = {}

    @torch.no_grad()
    def watch(self, player: str, gradients: Mapping[str, Tensor], images_seen: Tensor) -> Tensor:
        """Return the norm [] of all gradients as one vector, and record whether it is finite.

        Args:
            player: name of the player.
            gradients: name of the parameter -> its gradient; the same parameters at every step.
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
        """Raise ``NotFiniteError`` naming the first non-finite gradient, if there was one. Waits for the device."""
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
    """Yield a list that collects the signals which end a process; the process continues, so that the loop can save first.

    SIGINT, SIGTERM, SIGHUP (the terminal was closed; not under nohup), SIGPIPE (the reader of the output has exited, see ``Report.say``),
    and the exit of the launcher, which counts as SIGTERM. A second signal that a user can send ends the process at once.
    """
    received: list[int] = []

    def notice(number: int, _: FrameType | None) -> None:
        if number == LAUNCHER_DIED:  # Linux sends one for each thread of the launcher that ends
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


def agreeing_is_free(accelerator: Accelerator) -> bool:
    """Return whether processes agree on a signal without waiting for a device: a single one, or on CPUs, whose gradients wait anyway.

    With NCCL the host would wait at every iteration, so that they agree at status lines.
    """
    return bool(accelerator.num_processes == 1 or accelerator.device.type == "cpu")


def stop_signal(accelerator: Accelerator, signals: list[int]) -> int:
    """Return the number of a signal that any process has received, equal on every process; 0: none."""
    mine = signals[0] if signals else 0
    if accelerator.num_processes == 1:
        return mine
    everyone = accelerator.gather(torch.tensor([mine], device=accelerator.device))
    return int(everyone.max())
