"""Config of the two networks."""

from typing import Literal

from pydantic import PositiveInt

from gconv_gan.config.base import Config
from gconv_gan.config.units import (
    BatchNormConfig,
    ConvConfig,
    DiscriminatorNormConfig,
    GeneratorNormConfig,
    PlainConvConfig,
    SpectralNormConfig,
)


class ResNetGeneratorConfig(Config):
    """The SNGAN residual generator; its resolution is ``data.size``."""

    kind: Literal["resnet"] = "resnet"
    width: PositiveInt
    """Channels of the first, widest feature map (SNGAN: 256 at 32 px, 1024 at 64 and 128 px)."""
    latent_dim: PositiveInt = 128
    """Dimension of z."""
    conv: ConvConfig = PlainConvConfig()
    """The 3×3 convolutions of the residual blocks."""
    conv_in_shortcuts: bool = False
    """Use ``conv`` for the 1×1 shortcuts too."""
    conv_to_rgb: bool = False
    """Use ``conv`` for the last convolution too (stylegan2, gigagan: one kernel, no demodulation)."""
    norm: GeneratorNormConfig = BatchNormConfig()
    """The norms of the residual blocks."""


class ResNetDiscriminatorConfig(Config):
    """The SNGAN residual discriminator, with the projection head when the run is conditional."""

    kind: Literal["resnet"] = "resnet"
    width: PositiveInt
    """Channels of the last, widest feature map (SNGAN: 128 at 32 px, 1024 at 64 and 128 px)."""
    middle: Literal["thin", "wide"] = "thin"
    """Width between a block's two convolutions: its input's (SNGAN, mimicry) or its output's (StudioGAN)."""
    shortcut_preact: bool = False
    """Rectify the shortcut's input, as mimicry's and StudioGAN's in-place ReLU does."""
    norm: DiscriminatorNormConfig = SpectralNormConfig()
    """How the discriminator's layers are kept Lipschitz."""


GeneratorConfig = ResNetGeneratorConfig
DiscriminatorConfig = ResNetDiscriminatorConfig
