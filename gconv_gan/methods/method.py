"""Interface of training methods: the objects that they act on, and the calls during training."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from gconv_gan.optim.ema import Ema

PlayerName = Literal["generator", "discriminator", "classifier"]


@dataclass
class Player:
    """A network that is trained, with its optimiser and, where it has one, its average.

    A method that replaces parameters (pruning, factorisation) changes ``network`` in place and calls ``rebuild``.
    """

    name: PlayerName
    network: nn.Module
    """The bare network in float32, on the device: never the wrapper that averages gradients over processes."""
    build_optimizer: Callable[[nn.Module], torch.optim.Optimizer]
    learning_rate: float
    """Base value, before schedule and methods."""
    build_average: Callable[[nn.Module], Ema] | None = None
    parameters: list[tuple[str, nn.Parameter]] = field(init=False)
    """The trained ones, by name."""
    optimizer: torch.optim.Optimizer = field(init=False)
    average: Ema | None = field(init=False)

    def __post_init__(self) -> None:
        self.rebuild()

    def rebuild(self) -> None:
        """Create optimiser and average again for the current parameters of the network."""
        self.parameters = [(name, parameter) for name, parameter in self.network.named_parameters() if parameter.requires_grad]
        self.optimizer = self.build_optimizer(self.network)
        self.average = None if self.build_average is None else self.build_average(self.network)

    @property
    def tested(self) -> nn.Module:
        """Return the network that is sampled from, scored and tested: the average, where there is one."""
        return self.network if self.average is None else self.average.network


@dataclass
class Progress:
    """Counters. Draws, learning rates and cadences are functions of these alone."""

    images_seen: int = 0
    best_score: float | None = None
    best_name: str | None = None
    """Name of the score, "protocol/fd"; another name resets the best value."""
    best_images: int | None = None
    d_steps: int = 0
    """Discriminator steps of a GAN."""
    g_steps: int = 0
    """Generator steps of a GAN."""

    def improved_by(self, name: str, value: float, *, lower_is_better: bool = True) -> bool:
        """Return whether ``value`` is the best of the score ``name`` so far, and if so store it with the images seen."""
        if self.best_score is not None and self.best_name == name:
            better = value < self.best_score if lower_is_better else value > self.best_score
            if not better:
                return False
        self.best_score, self.best_name, self.best_images = value, name, self.images_seen
        return True


@runtime_checkable
class Losses(Protocol):
    """The loss of each player as a function of a batch's number, for methods that measure before or between steps."""

    def __call__(self, player: PlayerName, batch: int) -> Tensor:
        """Return the loss [] of ``player`` on training batch ``batch``, with its graph; equal numbers give equal batches."""


class Method:
    """Base of training methods: all calls do nothing; a method overrides those that it needs.

    ``after_backward`` and ``after_step`` run inside the iteration: they read no value of a tensor, and a number that changes from one
    iteration to the next is a tensor that ``begin`` fills.
    """

    def check(self, networks: Mapping[PlayerName, nn.Module]) -> None:
        """Check the bare networks before training, and in a dry run.

        Raises:
            UserError: the networks have no part for the method, or it cannot act on them.

        """

    def start(self, players: Mapping[PlayerName, Player], losses: Losses) -> None:
        """Act on the players before the first iteration of a new run (not of a resumed one), before Accelerate wraps them."""

    def begin(self, players: Mapping[PlayerName, Player], progress: Progress) -> None:
        """Set the values that depend on the counters; called on the host before every iteration and once after a resume."""

    def after_backward(self, player: Player) -> None:
        """Act on a player with complete gradients, before clipping and the optimiser's step."""

    def after_step(self, player: Player) -> None:
        """Act on a player after its optimiser's step."""

    def learning_rate_factor(self, player: Player, progress: Progress) -> float:
        """Return the factor on the player's learning rate in the next iteration; the factors of all methods are multiplied."""
        return 1.0

    def state(self) -> Mapping[str, nn.Module]:
        """Return the state for checkpoints, as modules with buffers, by the name of their file."""
        return {}

    def facts(self) -> dict[str, Any]:
        """Return plain data about changes of the networks' structure, saved in every checkpoint."""
        return {}

    def rebuild(self, name: PlayerName, network: nn.Module, facts: Mapping[str, Any]) -> None:
        """Apply to a newly built ``network`` the changes of structure in ``facts``; called whenever a run is read."""

    def status(self) -> Mapping[str, float]:
        """Return the numbers for the status line and the trackers."""
        return {}
