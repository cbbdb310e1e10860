"""Config of a classifier's layer -> constructor of that layer."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from gconv_gan.config.classifier_units import (
    ClassifierAttentionConfig,
    ClassifierConvConfig,
    ClassifierNormConfig,
    ConvNorm2dConfig,
    DefinedConfig,
    GhostConvConfig,
    InvariantConv2dConfig,
    NoAttentionConfig,
    NonLocalConfig,
    PlainConv2dConfig,
    SpectralConv2dConfig,
    SqueezeExciteConfig,
)
from gconv_gan.config.norms import BatchNorm2dConfig, GroupNorm2dConfig, GroupNormPlusConfig, IterNorm2dConfig, NoNorm2dConfig
from gconv_gan.layers.batch_norm import BatchNorm2d
from gconv_gan.layers.conv_norm import ConvNorm2d
from gconv_gan.layers.ghost import GhostModule
from gconv_gan.layers.group_norm import GroupNorm, GroupNormPlus
from gconv_gan.layers.invariant_conv import InvariantConv2d
from gconv_gan.layers.iter_norm import IterNorm
from gconv_gan.layers.non_local import NonLocal2d
from gconv_gan.layers.spectral_norm import spectral_norm
from gconv_gan.layers.squeeze_excite import SqueezeExcite


def classifier_conv(config: ClassifierConvConfig) -> Callable[..., nn.Module]:
    """Return ``conv(in_channels, out_channels, kernel_size, …)``, as ``nn.Conv2d``, for a classifier's units."""
    options = config.model_dump(exclude={"kind"})
    match config:
        case DefinedConfig() | PlainConv2dConfig():
            return nn.Conv2d
        case SpectralConv2dConfig():
            return _spectral_conv
        case ConvNorm2dConfig():
            return partial(ConvNorm2d, **options)
        case GhostConvConfig():
            return partial(GhostModule, **options)
        case InvariantConv2dConfig():
            return partial(InvariantConv2d, **options)


def _spectral_conv(*args: Any, **kwargs: Any) -> nn.Module:
    return spectral_norm(nn.Conv2d(*args, **kwargs))


def classifier_norm(config: ClassifierNormConfig) -> Callable[[int], nn.Module] | None:
    """Return ``norm(channels)`` for a classifier's units, or None where there is none."""
    match config:
        case NoNorm2dConfig():
            return None
        case DefinedConfig():
            return BatchNorm2d
        case BatchNorm2dConfig(initial_scale=scale):
            return partial(BatchNorm2d, initial_scale=scale)
        case GroupNorm2dConfig():
            return partial(GroupNorm, **config.model_dump(exclude={"kind"}))
        case GroupNormPlusConfig():
            return partial(GroupNormPlus, **config.model_dump(exclude={"kind"}))
        case IterNorm2dConfig():
            return partial(IterNorm, **config.model_dump(exclude={"kind"}))


def classifier_attention(config: ClassifierAttentionConfig) -> Callable[[int], nn.Module] | None:
    """Return ``attention(channels)`` for a classifier's branches, or None where there is none."""
    match config:
        case DefinedConfig() | NoAttentionConfig():
            return None
        case SqueezeExciteConfig():
            return SqueezeExcite
        case NonLocalConfig():
            return partial(NonLocal2d, **config.model_dump(exclude={"kind"}))
