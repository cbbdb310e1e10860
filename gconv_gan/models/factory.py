"""Config of a network -> the network: the part that its kind names, and what stands around it."""

from typing import Any

from torch import nn

from gconv_gan.config.classifier_units import ClassifierBatchNormConfig, DigitsClassifierConfig, NamedClassifierConfig, NetworkConfig
from gconv_gan.config.errors import UserError
from gconv_gan.config.networks import AnyDiscriminator, AnyGenerator
from gconv_gan.config.schema import constructor, value_of
from gconv_gan.layers.factory import classifier_attention, classifier_conv, classifier_norm
from gconv_gan.layers.spectral_norm import apply_spectral_norm
from gconv_gan.layers.tables import ACTIVATIONS
from gconv_gan.models.classifiers import build_classifier
from gconv_gan.models.digits_classifier import DigitsClassifier
from gconv_gan.models.mapping import MappedGenerator
from gconv_gan.models.standardised import BatchNormalisedInput


def build_generator(config: AnyGenerator, *, image_size: int, num_classes: int | None) -> nn.Module:
    """Return the generator, initialised from torch's global random state, normalised, behind its mapping network.

    Raises:
        ValueError: the network does not exist in this size or width, or nothing in it would look at the class.

    """
    network, mapping = constructor(config, "generator"), constructor(config.mapping, "generator.mapping")
    latent_dim = config.latent_dim if mapping is None else value_of(mapping, "width")
    generator: nn.Module = network(image_size=image_size, num_classes=num_classes, latent_dim=latent_dim)
    if config.spectral_norm:
        apply_spectral_norm(generator, eps=config.spectral_eps, embeddings=False)
    if mapping is not None:
        generator = MappedGenerator(mapping(latent_dim=config.latent_dim, num_classes=num_classes), generator, latent_dim=config.latent_dim)
    if num_classes is not None and not any(isinstance(module, nn.Embedding) for module in generator.modules()):
        raise ValueError(
            'the generator would not look at the class: take norm.kind = "batch", mapping.kind = "mlp", or kind = "biggan"; '
            "or train unconditionally"
        )
    return generator


def build_discriminator(config: AnyDiscriminator, *, image_size: int, num_classes: int | None) -> nn.Module:
    """Return the discriminator, initialised from torch's global random state, then normalised.

    Raises:
        ValueError: the network does not exist in this size or width.

    """
    network: nn.Module = constructor(config, "discriminator")(image_size=image_size, num_classes=num_classes)
    normalise = constructor(config.norm, "discriminator.norm")
    if normalise is not None:
        normalise()(network)
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
                network = build_classifier(config.name, num_classes=num_classes, image_size=image_size, **classifier_swaps(config))
                if isinstance(config.norm, ClassifierBatchNormConfig) and config.norm.normalise_input:
                    return BatchNormalisedInput(network, scale=config.norm.initial_scale)
                return network
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
        found["activation"] = ACTIVATIONS[config.activation]
    if config.order != "defined":
        found["order"] = config.order
    return found
