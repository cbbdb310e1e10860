"""The interface between the loop and its task, adversarial or supervised training."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from gconv_gan.config.sections.classifiers import ClassifierRunConfig
from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.layers.lipschitz.spectral_norm import PowerIterations
from gconv_gan.methods.method import Method, Player, PlayerName, Progress
from gconv_gan.optim.learning_rates import hold_learning_rates, set_learning_rate
from gconv_gan.runtime.determinism import deterministic_kernels
from gconv_gan.runtime.modes import full_precision, without_autocast
from gconv_gan.runtime.precision import float32_arithmetic, float32_products, products_of
from gconv_gan.training.guards import FiniteGuard
from gconv_gan.training.processes import share_weights
from gconv_gan.training.report import Means, Report
from gconv_gan.training.state import TrainingState
from gconv_gan.training.step import measuring


class Task(ABC):
    """Players, their losses, and one iteration.

    An iteration has three parts: ``prepare`` runs on the host and returns the inputs, ``iterate`` reads no host value (the engine may
    capture it), and ``advance`` increments the counters.

    Attributes:
        config: the run.
        players: the networks that are trained.
        state: the content of a checkpoint.
        means: statistics since the last status line.
        guard: detects non-finite gradients.
        learning_rates: those of the last iteration, by player.
        images_per_iteration: real images per iteration.
        sample_every: images between pictures; 0: never.
        evaluate_every: images between scores; 0: never.

    """

    config: GANRunConfig | ClassifierRunConfig
    images_per_iteration: int
    sample_every: int = 0
    evaluate_every: int = 0

    def __init__(self, players: Sequence[Player], methods: Sequence[Method], extras: Mapping[str, nn.Module], device: torch.device) -> None:
        self.players: dict[PlayerName, Player] = {player.name: player for player in players}
        self.methods = methods
        self.state = TrainingState(self.players, Progress(), {name: part.to(device) for name, part in extras.items()}, methods)
        self.means = Means()
        self.learning_rates: dict[PlayerName, float] = {}
        self.guard = FiniteGuard(device)
        self.device = device
        self._begun = False
        self._place_states()

    def _place_states(self) -> None:
        """Move the states of the methods to the device."""
        for method in self.methods:
            for module in method.state().values():
                module.to(self.device)

    @property
    def progress(self) -> Progress:
        """Return the counters."""
        return self.state.progress

    def tensors(self) -> Iterator[Tensor]:
        """Yield every tensor that an iteration changes."""
        yield from self.state.tensors()
        yield from self.means.tensors()
        yield from self.guard.tensors()

    def start(self) -> None:
        """Let the methods act on the networks of a new run, before ``begin``."""
        for method in self.methods:
            method.start(self.players, self.losses)
        for player in self.players.values() if self.methods else ():
            player.rebuild()  # the averages become copies of the changed networks

    def begin(self, accelerator: Accelerator) -> None:
        """Let Accelerate put the precision into the networks, after a resume or a change of structure, and use the present optimisers."""
        if self._begun:
            accelerator.free_memory()  # its references to the old networks
            self.guard = FiniteGuard(self.device)
        self._place_states()
        for player in self.players.values():
            hold_learning_rates(player.optimizer, self.device)
            without_autocast(player.network)
            if player.average is not None:
                player.average.pair_again()
            accelerator.prepare_model(player.network, evaluation_mode=True)  # without its averaging of gradients, see ``processes``
            share_weights(player.network)
        self._begun = True
        self._power_iterations = PowerIterations(*(player.network for player in self.players.values()))
        for method in self.methods:
            method.begin(self.players, self.progress)

    def between(self) -> bool:
        """Let the methods act after an iteration; return whether ``begin`` and a new engine are needed."""
        with ExitStack() as stack:
            stack.enter_context(float32_arithmetic(self.device))
            for player in self.players.values():
                stack.enter_context(full_precision(player.network))
            changed = [method.between(self.players, self.progress, self.losses) for method in self.methods]
        return any(changed)

    def set_schedules(self, factor: float) -> None:
        """Set the learning rates of the next iteration: base value × schedule × the factors of the methods."""
        for player in self.players.values():
            factors = [method.learning_rate_factor(player, self.progress) for method in self.methods]
            self.learning_rates[player.name] = player.learning_rate * factor * math.prod(factors)
            set_learning_rate(player.optimizer, self.learning_rates[player.name])

    def losses(self, player: PlayerName, halves: Sequence[int], network: Callable[..., Any] | None = None) -> Tensor:
        """Return the loss [] of ``player`` on half batches, see ``Losses``."""
        networks = {name: one.network for name, one in self.players.items()}
        with measuring(*networks.values()):
            return self._loss(player, halves, networks[player] if network is None else network)

    @abstractmethod
    def _loss(self, player: PlayerName, halves: Sequence[int], network: Callable[..., Any]) -> Tensor:
        """Return the loss [] of a player whose network is ``network`` on the concatenation of half batches."""

    @abstractmethod
    def prepare(self) -> tuple[Hashable, Any]:
        """Return the next iteration's variant and inputs: tensors on the device in tuples."""

    def iterate(self, variant: Any, inputs: Any) -> None:
        """Run one iteration on ``inputs``, in the precision and with the kernels that the config names: changes tensors only."""
        trainer = self.config.trainer
        with ExitStack() as stack:
            stack.enter_context(float32_products(products_of(trainer.precision), self.device))
            if trainer.deterministic is not False:
                stack.enter_context(deterministic_kernels(self.device))
            self._iterate(variant, inputs)

    @abstractmethod
    def _iterate(self, variant: Any, inputs: Any) -> None:
        """Run one iteration: reads and changes tensors only."""

    @abstractmethod
    def advance(self) -> None:
        """Increment the counters by the iteration that was run."""

    def status(self) -> Mapping[str, float]:
        """Return further numbers of a status line; the time of this call does not count in the speed."""
        return {}

    def draw(self, images_seen: int) -> Path | None:
        """Write a picture of the current state, at 0 images one of the data too; return its file, None without one.

        Called on the main process.
        """
        return None

    def watch(self, records: Sequence[Mapping[str, Any]]) -> list[str]:
        """Return a sentence for each finding that has begun with the last of the run's ``records``; called at status lines."""
        return []

    def watch_from(self, records: Sequence[Mapping[str, Any]]) -> None:  # noqa: B027  # a task without findings does not override it
        """Take what ``records`` show as known, after a resume."""

    @abstractmethod
    def score(self, report: Report) -> bool:
        """Score, log, and return whether the score is the best so far. Collective."""
