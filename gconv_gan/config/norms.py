"""Config of the norms between the layers of a network: the same kinds and words in classifiers and in adversarial networks."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from gconv_gan.config.base import Config

Fraction = Annotated[float, Field(gt=0, le=1)]
Running = Literal["matrix", "covariance"]


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


class GANBatchNormConfig(BatchNorm2dConfig):
    """BatchNorm with the constants of the published adversarial networks."""

    eps: PositiveFloat = 1e-5
    """Added to the variance (pfnet: 2e-5; StudioGAN: 1e-4)."""
    momentum: Fraction = 0.1
    """Weight of a batch in the running statistics."""


class GANIterNormConfig(IterNorm2dConfig):
    """IterNorm in a network whose weights move fast."""

    running: Running = "matrix"
    """What is averaged for evaluation: the whitening matrix or, nearer to a batch's own where weights move fast, the covariance."""


class BatchNormConfig(GANBatchNormConfig):
    """BatchNorm; in a conditional run its scale and shift are the class's, in BigGAN linear in the block's part of z and the class."""

    last_initial_scale: PositiveFloat = 1.0
    """γ of the network's last norm, whose output the tanh must reach, where initial_scale is not 1."""


class SelfModulatedConfig(Config):
    """BatchNorm whose scale and shift are functions of the latent vector and, in a conditional run, of the class."""

    kind: Literal["self_modulated"] = "self_modulated"
    hidden: PositiveInt = 32
    """Width of the hidden layer between latent vector and scale."""


GeneratorNormConfig = Annotated[
    BatchNormConfig | SelfModulatedConfig | NoNorm2dConfig | GANIterNormConfig | GroupNorm2dConfig | GroupNormPlusConfig,
    Field(discriminator="kind"),
]
"""Norms of a generator. All but "none" take scale and shift of the condition, as BatchNorm does ("iter" with affine = true)."""

BlockNormConfig = Annotated[
    NoNorm2dConfig | GANBatchNormConfig | GANIterNormConfig | GroupNorm2dConfig | GroupNormPlusConfig, Field(discriminator="kind")
]
"""Norms of a discriminator."""
