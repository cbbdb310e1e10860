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


def require_fitting_optimizers(
    methods: Sequence[PartConfig], optimizers: Mapping[str, AnyOptimizer], *, max_grad_norm: float | None
) -> None:
    """Check that the methods of a run find the optimisers that they need.

    A method with the flag ``sets_momentum`` needs optimisers that have one; with the flag ``plain_sgd``, steps that are the learning rate
    times the gradient, so that the two exclude each other on a network.

    Args:
        methods: those of the run.
        optimizers: the optimiser of each player, by name, in sections of these names or, of a classifier, in ``optimizer``.
        max_grad_norm: that of the trainer.

    Raises:
        ValueError: an optimiser does not fit.

    """
    setting = {  # by player, the method that sets its momentum
        player: flag
        for index, method in enumerate(methods)
        for player in optimizers
        if player in (getattr(method, "players", None) or optimizers) and (flag := flagged(method, "sets_momentum", f"methods.{index}"))
    }
    for index, method in enumerate(methods):
        momentum, plain = (flagged(method, flag, f"methods.{index}") for flag in ("sets_momentum", "plain_sgd"))
        if plain and max_grad_norm is not None:
            raise ValueError(
                f"{plain} takes steps of plain SGD, which trainer.max_grad_norm = {max_grad_norm:g} would shorten: leave it out"
            )
        for player, optimizer in optimizers.items():
            if player not in (getattr(method, "players", None) or optimizers):
                continue
            section = "optimizer" if player == "classifier" else f"{player}_optimizer"
            if momentum and not hasattr(optimizer, "momentum"):
                raise ValueError(f'{momentum} sets the momentum, which {section}.kind = "{optimizer.kind}" lacks: use kind = "sgd" there')
            if plain and player in setting:
                raise ValueError(f"{setting[player]} sets the momentum, which {plain} needs to be 0: leave one of them out")
            if plain and optimizer.kind != "sgd":
                raise ValueError(f'{plain} takes steps of plain SGD, but {section}.kind = "{optimizer.kind}": set it to "sgd"')
            for key in ("momentum", "weight_decay") if plain else ():
                if value := getattr(optimizer, key):
                    raise ValueError(f"{plain} takes steps of plain SGD, but {section}.{key} = {value:g}: set it to 0")
