"""Config of optimisers, schedules and the weight average."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from gconv_gan.config.base import Config

Beta = Annotated[float, Field(ge=0, lt=1)]


class AdamConfig(Config):
    """Adam."""

    kind: Literal["adam"] = "adam"
    learning_rate: PositiveFloat = 2e-4
    """Learning rate before the schedule."""
    betas: tuple[Beta, Beta] = (0.0, 0.9)
    """Decay of the first and second moment."""
    eps: PositiveFloat = 1e-8
    """Added to the root of the second moment."""


class ConstantScheduleConfig(Config):
    """The learning rate stays as it is."""

    kind: Literal["constant"] = "constant"


class LinearScheduleConfig(Config):
    """The learning rate falls linearly to zero at ``trainer.total_images``."""

    kind: Literal["linear"] = "linear"
    start_images: NonNegativeInt = 0
    """Images seen before the fall begins."""


ScheduleConfig = Annotated[ConstantScheduleConfig | LinearScheduleConfig, Field(discriminator="kind")]


class EmaConfig(Config):
    """Exponential average of the generator's weights, counted in images."""

    half_life_images: PositiveInt = 44_340
    """Images after which an old weight counts half; 44,340 is a decay of 0.999 per step of 64 images."""
    ramp: PositiveFloat | None = None
    """Hold the half-life at most at ramp · images seen, so that early averages forget the start; None: no ramp."""
