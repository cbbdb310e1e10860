"""Config of a classifier's network -> the network."""

from functools import partial
from typing import Any

from torch import nn

from gconv_gan.config.classifier_units import (
    BatchNorm2dConfig,
    ClassifierAttentionConfig,
    ClassifierConvConfig,
    ClassifierNormConfig,
    ConvNorm2dConfig,
    DigitsClassifierConfig,
    GhostConv2dConfig,
    GroupNorm2dConfig,
    GroupNormPlusConfig,
    InvariantConv2dConfig,
    IterNorm2dConfig,
    NamedClassifierConfig,
    NetworkConfig,
    NonLocalConfig,
    PlainConv2dConfig,
    SpectralConv2dConfig,
    SqueezeExciteConfig,
)
from gconv_gan.config.errors import UserError
from gconv_gan.layers.activations import activation
from gconv_gan.layers.batch_norm import BatchNorm2d
from gconv_gan.layers.conv_norm import ConvNorm2d
from gconv_gan.layers.ghost import GhostModule
from gconv_gan.layers.group_norm import GroupNorm, GroupNormPlus
from gconv_gan.layers.invariant_conv import InvariantConv2d
from gconv_gan.layers.iter_norm import IterNorm
from gconv_gan.layers.non_local import NonLocal2d
from gconv_gan.layers.spectral_norm import spectral_norm
from gconv_gan.layers.squeeze_excite import SqueezeExcite
from gconv_gan.models.classifiers import build_classifier
from gconv_gan.models.digits_classifier import DigitsClassifier


def build_network(config: NetworkConfig, *, num_classes: int, image_size: int) -> nn.Module:
    """Return the network, initialised from torch's global random state.

    Raises:
        UserError: there is no such network, or it takes no such part, option, size or width.

    """
    try:
        match config:
            case DigitsClassifierConfig():
                return DigitsClassifier(num_classes=num_classes, image_size=image_size, width=config.width)
            case NamedClassifierConfig():
                return build_classifier(config.name, num_classes=num_classes, image_size=image_size, **swaps(config))
    except (TypeError, ValueError) as error:
        raise UserError(f"network: {error}") from error


def swaps(config: NamedClassifierConfig) -> dict[str, Any]:
    """Return the keyword arguments of ``build_classifier`` for everything that is not as the network defines it."""
    found: dict[str, Any] = dict(config.options)
    parts = {"conv": _conv(config.conv), "norm": _norm(config.norm), "attention": _attention(config.attention)}
    found |= {name: made for name, made in parts.items() if getattr(config, name).kind != "defined"}
    if config.activation != "defined":
        found["activation"] = partial(activation, config.activation)
    if config.order != "defined":
        found["order"] = config.order
    return found


def _conv(config: ClassifierConvConfig) -> Any:
    match config:
        case PlainConv2dConfig():
            return nn.Conv2d
        case SpectralConv2dConfig():
            return _spectral_conv
        case ConvNorm2dConfig():
            return partial(ConvNorm2d, **config.model_dump(exclude={"kind"}))
        case GhostConv2dConfig():
            return partial(GhostModule, **config.model_dump(exclude={"kind"}))
        case InvariantConv2dConfig():
            return partial(InvariantConv2d, **config.model_dump(exclude={"kind"}))
        case _:
            return None


def _spectral_conv(*args: Any, **kwargs: Any) -> nn.Module:
    return spectral_norm(nn.Conv2d(*args, **kwargs))


def _norm(config: ClassifierNormConfig) -> Any:
    match config:
        case BatchNorm2dConfig():
            return partial(_scaled_batch_norm, config.initial_scale)
        case GroupNorm2dConfig():
            return partial(GroupNorm, num_groups=config.groups)
        case GroupNormPlusConfig():
            return partial(GroupNormPlus, num_groups=config.groups, statistics=config.statistics)
        case IterNorm2dConfig():
            return partial(IterNorm, **config.model_dump(exclude={"kind"}))
        case _:
            return None


def _scaled_batch_norm(scale: float, channels: int) -> nn.Module:
    norm = BatchNorm2d(channels)
    nn.init.constant_(norm.weight, scale)
    return norm


def _attention(config: ClassifierAttentionConfig) -> Any:
    match config:
        case SqueezeExciteConfig():
            return SqueezeExcite
        case NonLocalConfig():
            return partial(NonLocal2d, **config.model_dump(exclude={"kind"}))
        case _:
            return None
