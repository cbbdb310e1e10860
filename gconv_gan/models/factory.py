"""Config of a network -> the network."""

from functools import partial
from typing import Any

from torch import nn

from gconv_gan.config.classifier_units import ClassifierBatchNormConfig, DigitsClassifierConfig, NamedClassifierConfig, NetworkConfig
from gconv_gan.config.errors import UserError
from gconv_gan.config.networks import (
    BigGANDiscriminatorConfig,
    BigGANGeneratorConfig,
    DCGANDiscriminatorConfig,
    DCGANGeneratorConfig,
    DiscriminatorConfig,
    GeneratorConfig,
    MLPMappingConfig,
    NoMappingConfig,
    ResNetDiscriminatorConfig,
    ResNetGeneratorConfig,
    SkipDiscriminatorConfig,
    SkipGeneratorConfig,
)
from gconv_gan.config.norms import BatchNorm2dConfig, BatchNormConfig, BlockNormConfig, GeneratorNormConfig
from gconv_gan.layers.activations import activation, activation_gain
from gconv_gan.layers.batch_norm_init import initialise_batch_norms
from gconv_gan.layers.conditioning import Conditioned
from gconv_gan.layers.factory import (
    classifier_attention,
    classifier_conv,
    classifier_norm,
    conv_constructor,
    discriminator_conv,
    norm_constructor,
    normalise_discriminator,
    plain_norm,
    rgb_conv_constructor,
)
from gconv_gan.layers.initialisers import BLOCK_GAIN
from gconv_gan.layers.resample import ResampledConv2d
from gconv_gan.layers.spectral_norm import apply_spectral_norm
from gconv_gan.models.classifiers import build_classifier
from gconv_gan.models.digits_classifier import DigitsClassifier
from gconv_gan.models.gan_biggan import BigGANDiscriminator, BigGANGenerator, block_latent_dim
from gconv_gan.models.gan_dcgan import DCGANDiscriminator, DCGANGenerator
from gconv_gan.models.gan_resnet import ResNetDiscriminator, ResNetGenerator
from gconv_gan.models.gan_skip import SkipDiscriminator, SkipGenerator
from gconv_gan.models.mapping import MappedGenerator, MappingNetwork
from gconv_gan.models.standardised import BatchNormalisedInput


def build_generator(config: GeneratorConfig, *, image_size: int, num_classes: int | None) -> nn.Module:
    """Return the generator, initialised from torch's global random state, normalised, behind its mapping network.

    Raises:
        ValueError: the network does not exist in this size or width, or nothing in it would look at the class.

    """
    match config.mapping:
        case NoMappingConfig():
            generator = synthesis(config, image_size=image_size, num_classes=num_classes, latent_dim=config.latent_dim)
        case MLPMappingConfig(width=width, depth=depth, lr_multiplier=lr_multiplier):
            inner = synthesis(config, image_size=image_size, num_classes=num_classes, latent_dim=width)
            mapping = MappingNetwork(
                latent_dim=config.latent_dim, width=width, depth=depth, num_classes=num_classes, lr_multiplier=lr_multiplier
            )
            generator = MappedGenerator(mapping, inner, latent_dim=config.latent_dim)
    if num_classes is not None and not any(isinstance(module, nn.Embedding) for module in generator.modules()):
        raise ValueError(
            'the generator would not look at the class: take norm.kind = "batch", mapping.kind = "mlp", or kind = "biggan"; '
            "or train unconditionally"
        )
    return generator


def synthesis(config: GeneratorConfig, *, image_size: int, num_classes: int | None, latent_dim: int) -> nn.Module:
    """Return the generator without its mapping network; ``latent_dim`` is that of z, or of w behind one."""
    shape: dict[str, Any] = {"image_size": image_size, "width": config.width, "latent_dim": latent_dim, "num_classes": num_classes}
    network: nn.Module
    match config:
        case ResNetGeneratorConfig():
            layers = _residual_layers(config, config.block_latent or latent_dim, num_classes)
            network = ResNetGenerator(**shape, block_latent=config.block_latent, **layers)
        case DCGANGeneratorConfig():
            network = DCGANGenerator(**shape, **_layers(config, latent_dim, num_classes))
        case SkipGeneratorConfig():
            network = SkipGenerator(**shape, **_layers(config, latent_dim, num_classes))
        case BigGANGeneratorConfig():
            shared_dim = config.shared_dim if num_classes is not None and config.shared_dim else None
            own: dict[str, Any] = {"shared_dim": shared_dim, "hierarchical": config.hierarchical}
            dim = block_latent_dim(image_size=image_size, latent_dim=latent_dim, **own)
            by_vector = config.hierarchical or shared_dim is not None
            layers = _residual_layers(config, dim, num_classes, by_vector=by_vector)
            network = BigGANGenerator(**shape, **layers, **own, init=config.init)
            if by_vector and not any(isinstance(module, Conditioned) for module in network.blocks.modules()):
                raise ValueError(
                    "the blocks of biggan would look at neither z nor class: take a norm with scale and shift, a convolution that sees the "
                    "latent vector, or hierarchical = false and shared_dim = 0"
                )
    _start_batch_norms(network, config.norm)
    if config.spectral_norm:
        apply_spectral_norm(network, eps=config.spectral_eps, embeddings=False)
    return network


def _layers(config: GeneratorConfig, latent_dim: int, num_classes: int | None, *, by_vector: bool = False) -> dict[str, Any]:
    """Return the constructors that every generator takes.

    ``latent_dim`` is the length of the vector its blocks are conditioned on; ``by_vector``: the norms take it in place of the class.
    """
    rgb_conv = rgb_conv_constructor(config.conv, latent_dim=latent_dim, num_classes=num_classes)
    classes = None if by_vector else num_classes
    return {
        "conv": conv_constructor(config.conv, latent_dim=latent_dim, num_classes=num_classes),
        "rgb_conv": rgb_conv if config.conv_to_rgb else ResampledConv2d,
        "norm": norm_constructor(config.norm, latent_dim=latent_dim, num_classes=classes, by_vector=by_vector),
        "attention": config.attention,
        **_activation(config),
    }


def _activation(config: GeneratorConfig | DiscriminatorConfig) -> dict[str, Any]:
    """Return the constructor of the activation and, for networks that start by a gain, its gain: the published one for rectifiers."""
    constructor = {"activation": partial(activation, config.activation)}
    if config.kind in ("biggan", "dcgan"):
        return constructor
    rectifier = config.activation in ("relu", "leaky_relu")
    return constructor | {"gain": BLOCK_GAIN if rectifier else activation_gain(config.activation)}


def _start_batch_norms(network: nn.Module, config: GeneratorNormConfig | BlockNormConfig) -> None:
    """Set the scales that BatchNorms of this config start with, where they are not the network's own."""
    if isinstance(config, BatchNorm2dConfig):
        last = config.last_initial_scale if isinstance(config, BatchNormConfig) else config.initial_scale
        if (config.initial_scale, last) != (1.0, 1.0):
            initialise_batch_norms(network, config.initial_scale, last_scale=last)


def _residual_layers(
    config: ResNetGeneratorConfig | BigGANGeneratorConfig, latent_dim: int, num_classes: int | None, *, by_vector: bool = False
) -> dict[str, Any]:
    """Return the constructors that residual generators take; but for self-modulation, the last norm knows neither latents nor classes."""
    layers = _layers(config, latent_dim, num_classes, by_vector=by_vector)
    plain = norm_constructor(config.norm, latent_dim=latent_dim, num_classes=None)
    return layers | {
        "shortcut_conv": layers["conv"] if config.conv_in_shortcuts else ResampledConv2d,
        "last_norm": layers["norm"] if config.norm.kind == "self_modulated" else plain,
        "order": config.order,
    }


def build_discriminator(config: DiscriminatorConfig, *, image_size: int, num_classes: int | None) -> nn.Module:
    """Return the discriminator, initialised from torch's global random state, then normalised.

    Raises:
        ValueError: the network does not exist in this size or width.

    """
    shape: dict[str, Any] = {"image_size": image_size, "width": config.width, "num_classes": num_classes}
    layers: dict[str, Any] = {
        "conv": discriminator_conv(config.conv),
        "norm": plain_norm(config.block_norm),
        "attention": config.attention,
        **_activation(config),
    }
    network: nn.Module
    match config:
        case ResNetDiscriminatorConfig():
            network = ResNetDiscriminator(
                **shape, **layers, middle=config.middle, shortcut_preact=config.shortcut_preact, pooling=config.pooling
            )
        case DCGANDiscriminatorConfig():
            network = DCGANDiscriminator(**shape, **layers)
        case BigGANDiscriminatorConfig():
            network = BigGANDiscriminator(
                **shape, **layers, init=config.init, pooling=config.pooling, shortcut_preact=config.shortcut_preact
            )
        case SkipDiscriminatorConfig():
            network = SkipDiscriminator(**shape, **layers, pooling=config.pooling)
    _start_batch_norms(network, config.block_norm)
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
        found["activation"] = partial(activation, config.activation)
    if config.order != "defined":
        found["order"] = config.order
    return found
