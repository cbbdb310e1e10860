"""What the loop asks of a task: adversarial or supervised training."""

import math
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from gconv_gan.methods.method import Losses, Method, Player, PlayerName, Progress
from gconv_gan.optim.learning_rates import hold_learning_rates, set_learning_rate
from gconv_gan.training.guards import FiniteGuard
from gconv_gan.training.report import Means, Report
from gconv_gan.training.state import TrainingState
from gconv_gan.training.step import channels_last


class Task(ABC):
    """Players, their losses, and what one iteration does.

    An iteration is split in three: ``prepare`` works on the host and returns what the iteration reads, ``iterate`` touches no host value
    (the engine may capture it), ``advance`` moves the counters.

    Attributes:
        players: the networks that are trained.
        state: what a checkpoint holds.
        means: statistics since the last status line.
        guard: notices gradients that are not finite.
        losses: each player's loss on a numbered batch, for methods that measure.
        images_per_iteration: real images that an iteration shows.
        sample_every: images between pictures; 0: never.
        evaluate_every: images between scores; 0: never.

    """

    images_per_iteration: int
    sample_every: int = 0
    evaluate_every: int = 0

    def __init__(self, players: Sequence[Player], methods: Sequence[Method], extras: Mapping[str, nn.Module], device: torch.device) -> None:
        self.players: dict[PlayerName, Player] = {player.name: player for player in players}
        self.methods = methods
        held = {name: module for method in methods for name, module in method.state().items()}
        self.state = TrainingState(self.players, Progress(), {name: part.to(device) for name, part in {**extras, **held}.items()})
        self.means = Means()
        self.guard = FiniteGuard(device)
        self.device = device

    @property
    def progress(self) -> Progress:
        """Return the counters."""
        return self.state.progress

    def tensors(self) -> Iterator[Tensor]:
        """Yield every tensor that an iteration changes."""
        yield from self.state.tensors()
        yield from self.means.tensors()
        yield from self.guard.tensors()

    def begin(self, accelerator: Accelerator) -> None:
        """Take the networks as they are after a resume, and let Accelerate wrap them."""
        for player in self.players.values():
            hold_learning_rates(player.optimizer, self.device)

    def set_schedules(self, factor: float) -> None:
        """Set the learning rates of the next iteration: base value × schedule × the factors of the methods."""
        for player in self.players.values():
            factors = [method.learning_rate_factor(player, self.progress) for method in self.methods]
            set_learning_rate(player.optimizer, player.learning_rate * factor * math.prod(factors))

    @property
    @abstractmethod
    def losses(self) -> Losses: ...

    @abstractmethod
    def prepare(self) -> tuple[Hashable, Any]:
        """Return the next iteration's variant and inputs: tensors on the device in tuples."""

    @abstractmethod
    def iterate(self, variant: Any, inputs: Any) -> None:
        """Run one iteration on ``inputs``: reads and changes tensors only."""

    @abstractmethod
    def advance(self) -> None:
        """Move the counters over the iteration that was run."""

    def status(self) -> Mapping[str, float]:
        """Return further numbers of a status line; the loop's clock stands still meanwhile."""
        return {}

    def draw(self, images_seen: int) -> None:  # noqa: B027  # a task without pictures leaves it as it is
        """Write pictures of what was learned, and at 0 images of what is there before; called on the main process."""

    @abstractmethod
    def score(self, report: Report) -> bool:
        """Score, log, and return whether the score is the best so far. Collective."""


def on_device(network: nn.Module, device: torch.device) -> nn.Module:
    """Move a network to ``device`` in the memory layout that convolutions are fastest in, and return it."""
    network.to(device)
    channels_last(network)
    return network
