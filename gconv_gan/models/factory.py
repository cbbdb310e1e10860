"""Config of a network -> the network of its kind, with its mapping network, normalisation and initial scales."""

from typing import Any

from torch import nn

from gconv_gan.config.errors import UserError
from gconv_gan.config.schema import PartConfig, constructor, table, value_of
from gconv_gan.config.sections.classifier_units import NamedClassifierConfig
from gconv_gan.config.sections.networks import AnyDiscriminator, AnyGenerator
from gconv_gan.layers.lipschitz.spectral_norm import apply_spectral_norm
from gconv_gan.models.classifiers.named import build_classifier
from gconv_gan.models.classifiers.parts.standardised import BatchNormalisedInput
from gconv_gan.models.gan.mapping import MappedGenerator


def build_generator(config: AnyGenerator, *, image_size: int, num_classes: int | None) -> nn.Module:
    """Return the generator, initialised from torch's global random state, normalised, behind its mapping network.

    Raises:
        ValueError: the network does not exist in this size or width, or none of its layers depends on the class.

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
            'the generator does not depend on the class: take norm.kind = "batch", mapping.kind = "mlp", or kind = "biggan"; '
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


def named(config: NamedClassifierConfig, *, num_classes: int, image_size: int) -> nn.Module:
    """Return a network of the table in ``models/classifiers/named.py`` with the exchanged parts of the config.

    Raises:
        ValueError: there is no such network, or it takes no such part, size or width.

    """
    swaps: dict[str, Any] = dict(config.options)
    for name in ("conv", "norm", "attention"):
        part = getattr(config, name)
        if part.kind != "defined":
            swaps[name] = constructor(part, f"network.{name}")
    if config.activation != "defined":
        swaps["activation"] = table("ACTIVATIONS")[config.activation]
    if config.order != "defined":
        swaps["order"] = config.order
    network = build_classifier(config.name, num_classes=num_classes, image_size=image_size, **swaps)
    if getattr(config.norm, "normalise_input", False):
        return BatchNormalisedInput(network, scale=value_of(swaps["norm"], "initial_scale"))
    return network


def build_classifier_network(config: PartConfig, *, num_classes: int, image_size: int) -> nn.Module:
    """Return a classifier, initialised from torch's global random state.

    Raises:
        UserError: there is no such network, or it takes no such part, option, size or width.

    """
    try:
        network: nn.Module = constructor(config, "network")(num_classes=num_classes, image_size=image_size)
    except TypeError as error:  # an option that the network's class does not take
        raise UserError(f"network: {error}") from error
    return network
