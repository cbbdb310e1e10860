"""Config of a layer -> constructor of that layer. The only file of the package's layers that sees a config."""

from collections.abc import Callable
from functools import partial

from torch import nn

from gconv_gan.config.units import ConvConfig, DiscriminatorNormConfig, GConvConfig, PlainConvConfig
from gconv_gan.layers.batch_norm import BatchNorm2d, ConditionalBatchNorm2d
from gconv_gan.layers.conv_norm import conv_norm
from gconv_gan.layers.gconv import GConv2d
from gconv_gan.layers.resample import ResampledConv2d
from gconv_gan.layers.spectral_norm import apply_spectral_norm


def conv_constructor(config: ConvConfig, *, latent_dim: int) -> Callable[..., nn.Module]:
    """Return ``conv(in_channels, out_channels, kernel_size, *, padding, resample)`` for the generator's blocks."""
    match config:
        case PlainConvConfig():
            return ResampledConv2d
        case GConvConfig():
            return partial(GConv2d, latent_dim=latent_dim, **config.model_dump(exclude={"kind"}))


def norm_constructor(num_classes: int | None) -> Callable[[int], nn.Module]:
    """Return ``norm(channels)`` for the generator's blocks: BatchNorm, or its class-conditional form."""
    return BatchNorm2d if num_classes is None else partial(ConditionalBatchNorm2d, num_classes=num_classes)


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
