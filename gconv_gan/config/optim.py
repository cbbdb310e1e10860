"""What every optimiser and schedule has besides the keywords of its part, and the weight average."""

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from gconv_gan.config.base import Config
from gconv_gan.config.schema import PartConfig


class AnyOptimizer(PartConfig):
    """What every optimiser has."""

    learning_rate: PositiveFloat = 2e-4
    """Learning rate before the schedule."""


class AnySchedule(PartConfig):
    """What every schedule has."""

    warmup_images: NonNegativeInt = 0
    """Images over which the learning rate first rises linearly to its full value; 0: none."""


class EmaConfig(Config):
    """Exponential average of the generator's weights, counted in images."""

    half_life_images: PositiveInt = 44_340
    """Images after which an old weight counts half; 44,340 is a decay of 0.999 per step of 64 images."""
    ramp: PositiveFloat | None = None
    """Hold the half-life at most at ramp · images seen, so that early averages forget the start; None: no ramp."""
    start_images: NonNegativeInt = 0
    """Until so many images have been seen the average is the generator itself (BigGAN: 1,000 to 20,000 steps' worth)."""
