"""Config of optimisers, schedules and the weight average."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, field_validator, model_validator

from gconv_gan.config.base import Config

Beta = Annotated[float, Field(ge=0, lt=1)]


class _Optimizer(Config):
    norm_scale_divisor: Annotated[float, Field(ge=1)] = 1.0
    """What the learning rate of the norms' scales is divided by (100 goes with norms that start at 0.1)."""


class AdamConfig(_Optimizer):
    """Adam."""

    kind: Literal["adam"] = "adam"
    learning_rate: PositiveFloat = 2e-4
    """Learning rate before the schedule."""
    betas: tuple[Beta, Beta] = (0.0, 0.9)
    """Decay of the first and second moment."""
    eps: PositiveFloat = 1e-8
    """Added to the root of the second moment."""


class SGDConfig(_Optimizer):
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"] = "sgd"
    learning_rate: PositiveFloat = 0.1
    """Learning rate before the schedule."""
    momentum: Beta = 0.9
    """Decay of the running sum of gradients."""
    nesterov: bool = False
    """Step along the gradient plus the decayed running sum, Nesterov's form."""
    weight_decay: NonNegativeFloat = 5e-4
    """Multiple of the weight added to its gradient."""
    decay: Literal["all", "weights"] = "all"
    """What decays: every parameter, or all but norms and biases."""

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> "SGDConfig":
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov = true needs a momentum above 0")
        return self


class AdamWConfig(_Optimizer):
    """Adam with decoupled weight decay."""

    kind: Literal["adamw"] = "adamw"
    learning_rate: PositiveFloat = 1e-3
    """Learning rate before the schedule."""
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """Decay of the first and second moment."""
    eps: PositiveFloat = 1e-8
    """Added to the root of the second moment."""
    weight_decay: NonNegativeFloat = 0.05
    """Share of the weight, times the learning rate, that a step takes away."""
    decay: Literal["all", "weights"] = "all"
    """What decays: every parameter, or all but norms and biases."""


OptimizerConfig = Annotated[SGDConfig | AdamConfig | AdamWConfig, Field(discriminator="kind")]


class _Schedule(Config):
    warmup_images: NonNegativeInt = 0
    """Images over which the learning rate first rises linearly to its full value; 0: none."""


class ConstantScheduleConfig(_Schedule):
    """The learning rate stays as it is."""

    kind: Literal["constant"] = "constant"


class LinearScheduleConfig(_Schedule):
    """The learning rate falls linearly to zero at ``trainer.total_images``."""

    kind: Literal["linear"] = "linear"
    start_images: NonNegativeInt = 0
    """Images seen before the fall begins."""


class CosineScheduleConfig(_Schedule):
    """The learning rate falls along half a cosine from the end of the warm-up to ``end_images``, and stays there."""

    kind: Literal["cosine"] = "cosine"
    final: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Factor on the learning rate that is reached at the end."""
    end_images: PositiveInt | None = None
    """Images seen at the end of the fall; None: ``trainer.total_images``."""


class StepScheduleConfig(_Schedule):
    """The learning rate is multiplied by a factor at each milestone."""

    kind: Literal["step"] = "step"
    milestones: tuple[PositiveInt, ...]
    """Images seen at which it falls, in rising order."""
    factor: Annotated[float, Field(gt=0, le=1)] = 0.1
    """What it is multiplied by at each milestone."""

    @field_validator("milestones")
    @classmethod
    def _rising(cls, milestones: tuple[int, ...]) -> tuple[int, ...]:
        if list(milestones) != sorted(set(milestones)):
            raise ValueError("milestones rise, each once")
        return milestones


ScheduleConfig = Annotated[
    ConstantScheduleConfig | LinearScheduleConfig | CosineScheduleConfig | StepScheduleConfig, Field(discriminator="kind")
]


class EmaConfig(Config):
    """Exponential average of the generator's weights, counted in images."""

    half_life_images: PositiveInt = 44_340
    """Images after which an old weight counts half; 44,340 is a decay of 0.999 per step of 64 images."""
    ramp: PositiveFloat | None = None
    """Hold the half-life at most at ramp · images seen, so that early averages forget the start; None: no ramp."""
    start_images: NonNegativeInt = 0
    """Until so many images have been seen the average is the generator itself (BigGAN: 1,000 to 20,000 steps' worth)."""
