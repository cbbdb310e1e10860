"""Config of a network -> the network."""

from torch import nn

from gconv_gan.config.networks import DiscriminatorConfig, GeneratorConfig
from gconv_gan.layers.factory import conv_constructor, norm_constructor, normalise_discriminator
from gconv_gan.models.gan_resnet import ResNetDiscriminator, ResNetGenerator


def build_generator(config: GeneratorConfig, *, image_size: int, num_classes: int | None) -> ResNetGenerator:
    """Return the generator, initialised from torch's global random state."""
    return ResNetGenerator(
        image_size=image_size,
        width=config.width,
        latent_dim=config.latent_dim,
        num_classes=num_classes,
        conv=conv_constructor(config.conv, latent_dim=config.latent_dim),
        norm=norm_constructor(num_classes),
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
