"""The state of a run that a checkpoint saves: networks, averages, optimisers, counters, buffers of methods and objective."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from gconv_gan.methods.method import Method, Player, PlayerName, Progress


@dataclass
class TrainingState:
    """Content of a checkpoint: the bare networks (without distributed wrappers), optimisers and counters."""

    players: Mapping[PlayerName, Player]
    progress: Progress = field(default_factory=Progress)
    extras: Mapping[str, nn.Module] = field(default_factory=dict)
    """Further state that steps change and read, as modules with buffers (such as an adaptive probability)."""
    methods: Sequence[Method] = ()
    """Methods, whose states are saved too."""

    def networks(self) -> dict[str, nn.Module]:
        """Return the modules by the name of their file in a checkpoint."""
        found: dict[str, nn.Module] = {name: player.network for name, player in self.players.items()}
        averages = [player.average.network for player in self.players.values() if player.average is not None]
        held = {name: module for method in self.methods for name, module in method.state().items()}
        return {**found, **dict(zip(["ema"], averages, strict=False)), **self.extras, **held}

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Return the optimisers by the name of their file in a checkpoint."""
        alone = len(self.players) == 1
        return {"optimizer" if alone else f"{name}_optimizer": player.optimizer for name, player in self.players.items()}

    def tensors(self) -> Iterator[Tensor]:
        """Yield every tensor that an iteration may change."""
        for network in self.networks().values():
            yield from network.parameters()
            yield from network.buffers()
        for optimizer in self.optimizers().values():
            for slots in optimizer.state.values():
                yield from (value for value in slots.values() if isinstance(value, Tensor))


def due(before: int, after: int, every: int) -> bool:
    """Return whether a multiple of ``every`` lies in (before, after]; 0 is never due."""
    return every > 0 and after // every > before // every
