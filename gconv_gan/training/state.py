"""Everything a run needs to go on: networks, average, optimisers and counters."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from gconv_gan.optim.ema import Ema


@dataclass
class Progress:
    """Counters. Draws, learning rates and cadences are functions of these alone."""

    images_seen: int = 0
    best_score: float | None = None
    """The smaller the better."""
    best_name: str | None = None
    """Which score it is, "protocol/fd": another one starts anew."""
    best_images: int | None = None

    def as_dict(self) -> dict[str, int | float | str | None]:
        """Return the counters as plain data."""
        return asdict(self)

    def improved_by(self, name: str, value: float) -> bool:
        """Return whether ``value`` is the best of the score ``name`` so far, and if so remember it and where it was reached."""
        if self.best_score is not None and self.best_name == name and value >= self.best_score:
            return False
        self.best_score, self.best_name, self.best_images = value, name, self.images_seen
        return True


@dataclass
class GANProgress(Progress):
    """Counters of a GAN run."""

    d_steps: int = 0
    g_steps: int = 0


@runtime_checkable
class TrainingState(Protocol):
    """What a checkpoint holds: the bare networks (never their distributed wrappers), optimisers and counters."""

    @property
    def progress(self) -> Progress:
        """Return the counters."""

    def networks(self) -> dict[str, nn.Module]:
        """Return the modules by the name of their file in a checkpoint."""

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Return the optimisers by the name of their file in a checkpoint."""


@dataclass
class GANState:
    """The state of a GAN run."""

    generator: nn.Module
    discriminator: nn.Module
    ema: Ema
    generator_optimizer: torch.optim.Optimizer
    discriminator_optimizer: torch.optim.Optimizer
    progress: GANProgress
    extras: Mapping[str, nn.Module] = field(default_factory=dict)
    """Whatever else a step changes and the next one reads, as modules whose buffers hold it (an adaptive probability, say)."""

    def networks(self) -> dict[str, nn.Module]:
        """Return the modules by the name of their file in a checkpoint."""
        return {"generator": self.generator, "discriminator": self.discriminator, "ema": self.ema.network, **self.extras}

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Return the optimisers by the name of their file in a checkpoint."""
        return {"generator_optimizer": self.generator_optimizer, "discriminator_optimizer": self.discriminator_optimizer}


@dataclass
class ClassifierState:
    """The state of a classifier run."""

    network: nn.Module
    ema: Ema | None
    optimizer: torch.optim.Optimizer
    progress: Progress

    def networks(self) -> dict[str, nn.Module]:
        """Return the modules by the name of their file in a checkpoint."""
        average = {} if self.ema is None else {"ema": self.ema.network}
        return {"classifier": self.network, **average}

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Return the optimisers by the name of their file in a checkpoint."""
        return {"optimizer": self.optimizer}

    def tested(self) -> nn.Module:
        """Return the network that is tested: the average, where there is one."""
        return self.network if self.ema is None else self.ema.network


def due(before: int, after: int, every: int) -> bool:
    """Return whether a multiple of ``every`` lies in (before, after]; 0 is never due."""
    return every > 0 and after // every > before // every
