"""Config of a layer -> constructor of that layer. The only file of the package's layers that sees a config."""

from collections.abc import Callable
from functools import partial

from torch import nn

from gconv_gan.config.units import (
    BatchNormConfig,
    BlockNormConfig,
    CConvConfig,
    CondConvConfig,
    ConvConfig,
    DiscriminatorConvConfig,
    DiscriminatorNormConfig,
    DyConvConfig,
    GConvConfig,
    GeneratorNormConfig,
    GigaGANConvConfig,
    GroupNormConfig,
    GroupNormPlusConfig,
    InvariantConvConfig,
    IterNormConfig,
    NoBlockNormConfig,
    NoGeneratorNormConfig,
    ODConvConfig,
    PlainConvConfig,
    ScaleInvariantConvConfig,
    SelfModulatedConfig,
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
from gconv_gan.layers.conv_norm import conv_norm
from gconv_gan.layers.dy_conv import DyConv2d
from gconv_gan.layers.gconv import GConv2d
from gconv_gan.layers.group_norm import GroupNorm, GroupNormPlus
from gconv_gan.layers.invariant_conv import InvariantConv2d
from gconv_gan.layers.iter_norm import IterNorm
from gconv_gan.layers.modulated_conv import AdaptiveConv2d, ModulatedConv2d
from gconv_gan.layers.od_conv import ODConv2d
from gconv_gan.layers.resample import ResampledConv2d
from gconv_gan.layers.self_modulation import SelfModulatedBatchNorm2d
from gconv_gan.layers.spectral_norm import apply_spectral_norm


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
        case InvariantConvConfig():
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
        case NoGeneratorNormConfig():
            return lambda channels: nn.Identity()
        case SelfModulatedConfig():
            return partial(SelfModulatedBatchNorm2d, latent_dim=latent_dim, num_classes=num_classes, hidden=config.hidden)
        case BatchNormConfig() if by_vector:
            return partial(LatentBatchNorm2d, latent_dim=latent_dim, eps=config.eps, momentum=config.momentum)
        case BatchNormConfig() if num_classes is not None:
            return partial(ConditionalBatchNorm2d, num_classes=num_classes, eps=config.eps, momentum=config.momentum)
        case BatchNormConfig():
            return partial(BatchNorm2d, eps=config.eps, momentum=config.momentum)
        case _ if by_vector:
            return _with_affine(partial(LatentNorm2d, latent_dim=latent_dim), block_norm_constructor(config, affine=False))
        case _ if num_classes is not None:
            return _with_affine(partial(ClassConditionalNorm2d, num_classes=num_classes), block_norm_constructor(config, affine=False))
        case _:
            return block_norm_constructor(config)


def _with_affine(modulation: Callable[..., nn.Module], norm: Callable[[int], nn.Module]) -> Callable[[int], nn.Module]:
    return lambda channels: modulation(norm(channels), channels)


def block_norm_constructor(config: BlockNormConfig, *, affine: bool = True) -> Callable[[int], nn.Module]:
    """Return ``norm(channels)`` without conditions, with or without scale and shift per channel."""
    match config:
        case NoBlockNormConfig():
            return lambda channels: nn.Identity()
        case BatchNormConfig():
            return partial(BatchNorm2d, eps=config.eps, momentum=config.momentum, affine=affine)
        case IterNormConfig():
            return partial(IterNorm, affine=affine, **config.model_dump(exclude={"kind"}))
        case GroupNormConfig():
            return partial(GroupNorm, num_groups=config.groups, affine=affine)
        case GroupNormPlusConfig():
            return partial(GroupNormPlus, num_groups=config.groups, affine=affine)


def block_conv_constructor(config: DiscriminatorConvConfig) -> Callable[..., nn.Module]:
    """Return ``conv(in_channels, out_channels, kernel_size, *, stride, padding, resample)`` for the discriminator's blocks."""
    match config:
        case PlainConvConfig():
            return ResampledConv2d
        case ScaleInvariantConvConfig():
            return partial(InvariantConv2d, **config.model_dump(exclude={"kind"}))


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
