"""Config of a network -> the network."""

from functools import partial
from typing import Any

from torch import nn

from gconv_gan.config.classifier_units import DigitsClassifierConfig, NamedClassifierConfig, NetworkConfig
from gconv_gan.config.errors import UserError
from gconv_gan.config.networks import DiscriminatorConfig, GeneratorConfig
from gconv_gan.layers.activations import activation
from gconv_gan.layers.batch_norm import BatchNorm2d
from gconv_gan.layers.factory import (
    classifier_attention,
    classifier_conv,
    classifier_norm,
    conv_constructor,
    norm_constructor,
    normalise_discriminator,
    rgb_conv_constructor,
)
from gconv_gan.layers.resample import ResampledConv2d
from gconv_gan.models.classifiers import build_classifier
from gconv_gan.models.digits_classifier import DigitsClassifier
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


def build_classifier_network(config: NetworkConfig, *, num_classes: int, image_size: int) -> nn.Module:
    """Return a classifier, initialised from torch's global random state.

    Raises:
        UserError: there is no such network, or it takes no such part, option, size or width.

    """
    try:
        match config:
            case DigitsClassifierConfig():
                return DigitsClassifier(num_classes=num_classes, image_size=image_size, width=config.width)
            case NamedClassifierConfig():
                return build_classifier(config.name, num_classes=num_classes, image_size=image_size, **classifier_swaps(config))
    except (TypeError, ValueError) as error:
        raise UserError(f"network: {error}") from error


def classifier_swaps(config: NamedClassifierConfig) -> dict[str, Any]:
    """Return the keyword arguments of ``build_classifier`` for everything that is not as the network defines it."""
    found: dict[str, Any] = dict(config.options)
    parts = {
        "conv": classifier_conv(config.conv),
        "norm": classifier_norm(config.norm),
        "attention": classifier_attention(config.attention),
    }
    found |= {name: part for name, part in parts.items() if getattr(config, name).kind != "defined"}
    if config.activation != "defined":
        found["activation"] = partial(activation, config.activation)
    if config.order != "defined":
        found["order"] = config.order
    return found
