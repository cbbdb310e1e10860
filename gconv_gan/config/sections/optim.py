"""Common keys of all optimisers and schedules, and the weight average."""

from collections.abc import Mapping, Sequence

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from gconv_gan.config.base import Config
from gconv_gan.config.schema import PartConfig, flagged


class AnyOptimizer(PartConfig):
    """Common keys of all optimisers."""

    learning_rate: PositiveFloat = 2e-4
    """Learning rate before the schedule."""


class AnySchedule(PartConfig):
    """Common keys of all schedules."""

    warmup_images: NonNegativeInt = 0
    """Images of a linear warm-up of the learning rate; 0: none."""


class EmaConfig(Config):
    """Exponential average of the generator's weights, counted in images."""

    half_life_images: PositiveInt = 44_340
    """Images after which the factor of an old weight is halved; 44,340 is a decay of 0.999 per step of 64 images."""
    ramp: PositiveFloat | None = None
    """Hold the half-life at most at ramp · images seen, so that early averages do not contain the initial weights; None: no ramp."""
    start_images: NonNegativeInt = 0
    """Images seen before averaging starts; until then the average equals the generator (BigGAN: 1,000 to 20,000 steps' worth)."""


def require_momentum(methods: Sequence[PartConfig], optimizers: Mapping[str, tuple[str, AnyOptimizer]]) -> None:
    """Check that a method that sets the momentum finds optimisers that have one.

    Args:
        methods: of the run.
        optimizers: by player: the name of the section, and its keys.

    Raises:
        ValueError: an optimiser has no momentum.

    """
    for index, method in enumerate(methods):
        setting = flagged(method, "sets_momentum", f"methods.{index}")
        for player, (section, optimizer) in optimizers.items() if setting else ():
            if player in (getattr(method, "players", None) or optimizers) and not hasattr(optimizer, "momentum"):
                raise ValueError(f'{setting} sets the momentum, which {section}.kind = "{optimizer.kind}" lacks: use kind = "sgd" there')
