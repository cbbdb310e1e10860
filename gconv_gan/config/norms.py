"""Config of the norms between the layers of a network: the same kinds and words in classifiers and in adversarial networks."""

from typing import Literal

from pydantic import PositiveFloat, PositiveInt

from gconv_gan.config.base import Config


class NoNorm2dConfig(Config):
    """No normalisation; the convolutions have biases."""

    kind: Literal["none"] = "none"


class BatchNorm2dConfig(Config):
    """Batch normalisation over the batch of all processes."""

    kind: Literal["batch"] = "batch"
    initial_scale: PositiveFloat = 1.0
    """γ before training, in every layer (0.1 goes with the optimiser's norm_scale_divisor = 100); 1: the network's own start."""


class GroupNorm2dConfig(Config):
    """Group normalisation; of one group it is layer normalisation."""

    kind: Literal["group"] = "group"
    num_groups: PositiveInt = 32
    """Number of groups; lowered to a divisor of the channels."""


class GroupNormPlusConfig(Config):
    """GN+: a learned mixture of group normalisation and batch normalisation of its result."""

    kind: Literal["group_plus"] = "group_plus"
    num_groups: PositiveInt = 32
    """Number of groups; lowered to a divisor of the channels."""


class IterNorm2dConfig(Config):
    """Iterative whitening of groups of channels."""

    kind: Literal["iter"] = "iter"
    group_size: PositiveInt = 64
    """Channels whitened together; halved until it divides the channels."""
    iterations: PositiveInt = 5
    """Newton iterations; the more, the whiter."""
    affine: bool = True
    """Learn a scale and a shift per channel."""
