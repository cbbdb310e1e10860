"""Config of the exchangeable parts of a classifier: convolution, normalisation, activation, attention, their order."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from gconv_gan.config.base import Config
from gconv_gan.config.norms import BatchNorm2dConfig, GroupNorm2dConfig, GroupNormPlusConfig, IterNorm2dConfig, NoNorm2dConfig

ActivationName = Literal["relu", "leaky_relu", "elu", "selu", "gelu", "silu", "mish", "softplus", "tanh"]


class DefinedConfig(Config):
    """What the network's definition has."""

    kind: Literal["defined"] = "defined"


class PlainConv2dConfig(Config):
    """Ordinary convolutions."""

    kind: Literal["plain"] = "plain"


class SpectralConv2dConfig(Config):
    """Ordinary convolutions, each divided by its reshaped spectral norm."""

    kind: Literal["spectral"] = "spectral"


class ConvNorm2dConfig(Config):
    """``ConvNorm2d``; with ``affine`` and ``bn``, the paper's unit, it takes the place of convolution and norm: set norm.kind none."""

    kind: Literal["conv_norm"] = "conv_norm"
    affine: bool = True
    """Add the learned depthwise filter."""
    bn: bool = True
    """Add batch normalisation."""
    detach: bool = True
    """Treat the preconditioner as a constant in the backward pass, as the official code does."""
    scale: Literal["none", "sqrt_out", "exact"] = "none"
    """Divide further so that the layer is 1-Lipschitz: by √out_channels, or by its exact norm."""


class GhostConvConfig(Config):
    """Every convolution is a ``GhostModule`` without norm and activation of its own: the network's follow it."""

    kind: Literal["ghost"] = "ghost"
    ratio: PositiveInt = 2
    """Output maps per map that an ordinary convolution makes."""
    cheap_kernel_size: PositiveInt = 3
    """Side of the depthwise kernels that make the others; odd."""


class InvariantConv2dConfig(Config):
    """``InvariantConv2d``, which takes the place of convolution and norm: set norm.kind none."""

    kind: Literal["invariant"] = "invariant"
    local_norm: Literal["layer", "l1", "none"] = "layer"
    """Normalisation of each image before the convolution, against changes of scale."""
    whiten: bool = True
    """Whiten the patches over the batch, against linear mixing of the channels."""
    block_size: PositiveInt = 64
    """Channels whitened together."""
    sampling_stride: PositiveInt = 3
    """Distance of the patches that the covariance is taken over."""
    iterations: PositiveInt = 5
    """Newton iterations."""


ClassifierConvConfig = Annotated[
    DefinedConfig | PlainConv2dConfig | SpectralConv2dConfig | ConvNorm2dConfig | GhostConvConfig | InvariantConv2dConfig,
    Field(discriminator="kind"),
]


class ClassifierBatchNormConfig(BatchNorm2dConfig):
    """Batch normalisation, of the images too."""

    normalise_input: bool = False
    """Batch-normalise the images too, with γ at 0.58 of initial_scale and no shift; in the place of standardise."""


class ClassifierGroupNormPlusConfig(GroupNormPlusConfig):
    """GN+ with a choice of its batch part."""

    statistics: Literal["batch", "batch_position"] = "batch"
    """Batch part over batch and positions, with running averages; or over the batch at each position, as the released code."""


ClassifierNormConfig = Annotated[
    DefinedConfig | NoNorm2dConfig | ClassifierBatchNormConfig | GroupNorm2dConfig | ClassifierGroupNormPlusConfig | IterNorm2dConfig,
    Field(discriminator="kind"),
]


class NoAttentionConfig(Config):
    """None."""

    kind: Literal["none"] = "none"


class SqueezeExciteConfig(Config):
    """Squeeze-and-excitation at the end of each residual branch."""

    kind: Literal["squeeze_excite"] = "squeeze_excite"


class NonLocalConfig(Config):
    """A non-local block at the end of each residual branch."""

    kind: Literal["non_local"] = "non_local"
    norm: Literal["scale", "softmax"] = "scale"
    """Divide the attention by √(pixels · width), or take its softmax."""
    heads: PositiveInt = 1
    """Number of heads."""
    embed_channels: PositiveInt | None = None
    """Width of queries, keys and values of each head; None: half the channels, or a head's share of them."""


ClassifierAttentionConfig = Annotated[DefinedConfig | NoAttentionConfig | SqueezeExciteConfig | NonLocalConfig, Field(discriminator="kind")]


class DigitsClassifierConfig(Config):
    """Four convolutions and a linear head for images of 8 to 16 px."""

    kind: Literal["digits_classifier"] = "digits_classifier"
    width: PositiveInt = 32
    """Channels of the first two convolutions."""


class NamedClassifierConfig(Config):
    """A network of the table in ``models/classifiers.py``, with any of its parts exchanged."""

    kind: Literal["named"] = "named"
    name: str
    """Its name there: wrn_28_10, resnet18_cifar, resnext29_32x4d, …"""
    conv: ClassifierConvConfig = DefinedConfig()
    """Every convolution."""
    norm: ClassifierNormConfig = DefinedConfig()
    """Every normalisation."""
    activation: Literal["defined", ActivationName] = "defined"
    """Every activation of the trunk."""
    attention: ClassifierAttentionConfig = DefinedConfig()
    """At the end of each residual branch."""
    order: Literal["defined", "standard", "whitened"] = "defined"
    """convolution, norm, activation; or norm, convolution, activation, the whitening unit."""
    options: dict[str, bool | int | float | str | tuple[int | float, ...]] = {}
    """Keyword arguments of the network's class: dropout, widths, depths, …"""


NetworkConfig = Annotated[DigitsClassifierConfig | NamedClassifierConfig, Field(discriminator="kind")]
