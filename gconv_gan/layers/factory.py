"""Config of a layer -> constructor of that layer. The only file of the package's layers that sees a config."""

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
    NoAttentionConfig,
    NonLocalConfig,
    PlainConv2dConfig,
    SpectralConv2dConfig,
    SqueezeExciteConfig,
)
from gconv_gan.config.norms import (
    BatchNorm2dConfig,
    BatchNormConfig,
    BlockNormConfig,
    GeneratorNormConfig,
    GroupNorm2dConfig,
    GroupNormPlusConfig,
    IterNorm2dConfig,
    NoNorm2dConfig,
    SelfModulatedConfig,
)
from gconv_gan.config.units import (
    CConvConfig,
    CondConvConfig,
    ConvConfig,
    DiscriminatorConvConfig,
    DiscriminatorNormConfig,
    DyConvConfig,
    GConvConfig,
    GhostConvConfig,
    GigaGANConvConfig,
    InvariantConv2dConfig,
    ODConvConfig,
    PlainConvConfig,
    StyleGAN2ConvConfig,
)
from gconv_gan.layers.batch_norm import (
    BatchNorm2d,
    ClassConditionalNorm2d,
    ConditionalBatchNorm2d,
    LatentBatchNorm2d,
    LatentNorm2d,
)
from gconv_gan.layers.c_conv import CConv2d
from gconv_gan.layers.cond_conv import CondConv2d
from gconv_gan.layers.conv_norm import ConvNorm2d, conv_norm
from gconv_gan.layers.dy_conv import DyConv2d
from gconv_gan.layers.gconv import GConv2d
from gconv_gan.layers.ghost import GhostModule
from gconv_gan.layers.group_norm import GroupNorm, GroupNormPlus
from gconv_gan.layers.invariant_conv import InvariantConv2d
from gconv_gan.layers.iter_norm import IterNorm
from gconv_gan.layers.modulated_conv import AdaptiveConv2d, ModulatedConv2d
from gconv_gan.layers.non_local import NonLocal2d
from gconv_gan.layers.od_conv import ODConv2d
from gconv_gan.layers.resample import ResampledConv2d
from gconv_gan.layers.self_modulation import SelfModulatedBatchNorm2d
from gconv_gan.layers.spectral_norm import apply_spectral_norm, spectral_norm
from gconv_gan.layers.squeeze_excite import SqueezeExcite


def conv_constructor(config: ConvConfig, *, latent_dim: int, num_classes: int | None) -> Callable[..., nn.Module]:
    """Return ``conv(in_channels, out_channels, kernel_size, *, padding, resample)`` for the generator's blocks.

    Raises:
        ValueError: for a class-conditional convolution in a generator without classes.

    """
    options = config.model_dump(exclude={"kind", "anneal_images", "class_gates"})
    match config:
        case PlainConvConfig():
            return ResampledConv2d
        case GConvConfig():
            return partial(GConv2d, latent_dim=latent_dim, num_classes=num_classes if config.class_gates else None, **options)
        case GhostConvConfig():
            return partial(GhostModule, conv=ResampledConv2d, **options)
        case CondConvConfig():
            return partial(CondConv2d, **options)
        case DyConvConfig():
            return partial(DyConv2d, **options)
        case ODConvConfig():
            return partial(ODConv2d, **options)
        case CConvConfig():
            if num_classes is None:
                raise ValueError("a class-conditional convolution needs num_classes")
            return partial(CConv2d, num_classes=num_classes)
        case StyleGAN2ConvConfig():
            return partial(ModulatedConv2d, latent_dim=latent_dim, **options)
        case GigaGANConvConfig():
            return partial(AdaptiveConv2d, latent_dim=latent_dim, **options)
        case InvariantConv2dConfig():
            return partial(InvariantConv2d, **options)


def rgb_conv_constructor(config: ConvConfig, *, latent_dim: int, num_classes: int | None) -> Callable[..., nn.Module]:
    """Return ``conv_constructor`` for the convolution that makes the image: a modulated one has one kernel and no demodulation there."""
    if isinstance(config, StyleGAN2ConvConfig | GigaGANConvConfig):
        return partial(ModulatedConv2d, latent_dim=latent_dim, demodulate=False, equalized_lr=config.equalized_lr)
    return conv_constructor(config, latent_dim=latent_dim, num_classes=num_classes)


def norm_constructor(
    config: GeneratorNormConfig, *, latent_dim: int, num_classes: int | None, by_vector: bool = False
) -> Callable[[int], nn.Module]:
    """Return ``norm(channels)`` for the generator's blocks.

    Args:
        config: which norm.
        latent_dim: length of the vector that blocks are conditioned on.
        num_classes: BatchNorm takes its class-conditional form; None: there are no classes, or the vector holds the class.
        by_vector: BatchNorm takes scale and shift from the vector.

    """
    match config:
        case SelfModulatedConfig():
            return partial(SelfModulatedBatchNorm2d, latent_dim=latent_dim, num_classes=num_classes, hidden=config.hidden)
        case BatchNormConfig() if by_vector:
            return partial(LatentBatchNorm2d, latent_dim=latent_dim, eps=config.eps, momentum=config.momentum)
        case BatchNormConfig() if num_classes is not None:
            return partial(ConditionalBatchNorm2d, num_classes=num_classes, eps=config.eps, momentum=config.momentum)
    plain = plain_norm(config)
    unscaled = isinstance(config, NoNorm2dConfig) or (isinstance(config, IterNorm2dConfig) and not config.affine)
    form: Callable[..., nn.Module]
    if by_vector and not unscaled:
        form = partial(LatentNorm2d, latent_dim=latent_dim)
    elif num_classes is not None and not unscaled:
        form = partial(ClassConditionalNorm2d, num_classes=num_classes)
    else:
        return plain
    return lambda channels: form(plain(channels, affine=False), channels)


def plain_norm(config: BlockNormConfig | BatchNormConfig | IterNorm2dConfig) -> Callable[..., nn.Module]:
    """Return ``norm(channels, *, affine)`` without conditions; the initial scale of a BatchNorm is set by ``models/factory.py``."""
    options = config.model_dump(exclude={"kind", "initial_scale", "last_initial_scale"})
    match config:
        case NoNorm2dConfig():
            return nn.Identity
        case BatchNorm2dConfig():
            return partial(BatchNorm2d, **options)
        case GroupNorm2dConfig():
            return partial(GroupNorm, **options)
        case GroupNormPlusConfig():
            return partial(GroupNormPlus, **options)
        case IterNorm2dConfig():
            return partial(IterNorm, **options)


def discriminator_conv(config: DiscriminatorConvConfig) -> Callable[..., nn.Module]:
    """Return ``conv(in_channels, out_channels, kernel_size, *, stride, padding, resample)`` for the discriminator's blocks."""
    return conv_constructor(config, latent_dim=0, num_classes=None)


def normalise_discriminator(network: nn.Module, config: DiscriminatorNormConfig) -> None:
    """Normalise every weighted layer of ``network`` in place, as ``config.kind`` says."""
    match config.kind:
        case "none":
            return
        case "spectral":
            apply_spectral_norm(network, eps=config.eps)
        case "conv_norm":
            for module in list(network.modules()):
                if isinstance(module, nn.Conv2d):
                    conv_norm(module, affine=config.affine, bn=config.bn, detach=config.detach, scale=config.scale)
            apply_spectral_norm(network)


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
            return partial(_scaled_batch_norm, scale)
        case _:
            return plain_norm(config)


def _scaled_batch_norm(scale: float, channels: int) -> nn.Module:
    norm = BatchNorm2d(channels)
    nn.init.constant_(norm.weight, scale)
    return norm


def classifier_attention(config: ClassifierAttentionConfig) -> Callable[[int], nn.Module] | None:
    """Return ``attention(channels)`` for a classifier's branches, or None where there is none."""
    match config:
        case DefinedConfig() | NoAttentionConfig():
            return None
        case SqueezeExciteConfig():
            return SqueezeExcite
        case NonLocalConfig():
            return partial(NonLocal2d, **config.model_dump(exclude={"kind"}))
