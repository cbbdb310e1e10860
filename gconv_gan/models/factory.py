"""Config of a network -> the network."""

from torch import nn

from gconv_gan.config.networks import DiscriminatorConfig, GeneratorConfig
from gconv_gan.layers.batch_norm import BatchNorm2d
from gconv_gan.layers.factory import conv_constructor, norm_constructor, normalise_discriminator, rgb_conv_constructor
from gconv_gan.layers.resample import ResampledConv2d
from gconv_gan.models.gan_resnet import ResNetDiscriminator, ResNetGenerator


def build_generator(config: GeneratorConfig, *, image_size: int, num_classes: int | None) -> ResNetGenerator:
    """Return the generator, initialised from torch's global random state."""
    latent_dim = config.latent_dim
    conv = conv_constructor(config.conv, latent_dim=latent_dim, num_classes=num_classes)
    rgb_conv = rgb_conv_constructor(config.conv, latent_dim=latent_dim, num_classes=num_classes)
    norm = norm_constructor(config.norm, latent_dim=latent_dim, num_classes=num_classes)
    return ResNetGenerator(
        image_size=image_size,
        width=config.width,
        latent_dim=latent_dim,
        num_classes=num_classes,
        conv=conv,
        shortcut_conv=conv if config.conv_in_shortcuts else ResampledConv2d,
        rgb_conv=rgb_conv if config.conv_to_rgb else ResampledConv2d,
        norm=norm,
        last_norm=BatchNorm2d if config.norm.kind == "batch" else norm,
    )


def build_discriminator(config: DiscriminatorConfig, *, image_size: int, num_classes: int | None) -> nn.Module:
    """Return the discriminator, initialised from torch's global random state, then normalised."""
    network = ResNetDiscriminator(
        image_size=image_size,
        width=config.width,
        num_classes=num_classes,
        middle=config.middle,
        shortcut_preact=config.shortcut_preact,
    )
    normalise_discriminator(network, config.norm)
    return network
