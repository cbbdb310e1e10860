"""Everything a run needs to go on: networks, averages, optimisers, counters, and what methods and the objective remember."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from gconv_gan.methods.method import Method, Player, PlayerName, Progress


@dataclass
class TrainingState:
    """What a checkpoint holds: the bare networks (never their distributed wrappers), optimisers and counters."""

    players: Mapping[PlayerName, Player]
    progress: Progress = field(default_factory=Progress)
    extras: Mapping[str, nn.Module] = field(default_factory=dict)
    """Whatever else a step changes and the next one reads, as modules whose buffers hold it (an adaptive probability, say)."""
    methods: Sequence[Method] = ()
    """Their state is saved too."""

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
