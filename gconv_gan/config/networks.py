"""Config of the two networks. Their resolution is ``data.size``."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Tag

from gconv_gan.config.base import Config
from gconv_gan.config.norms import BatchNormConfig, BlockNormConfig, GeneratorNormConfig, NoNorm2dConfig
from gconv_gan.config.units import (
    ActivationName,
    ConvConfig,
    DiscriminatorConvConfig,
    DiscriminatorNormConfig,
    PlainConvConfig,
    SpectralNormConfig,
)


class NoMappingConfig(Config):
    """z itself reaches the generator."""

    kind: Literal["none"] = "none"


class MLPMappingConfig(Config):
    """StyleGAN2's mapping network: layers are selected and modulated by w = f(z, y)."""

    kind: Literal["mlp"] = "mlp"
    depth: PositiveInt = 8
    """Layers (StyleGAN2: 8; its CIFAR-10 preset: 2)."""
    width: PositiveInt = 512
    """Dimension of w and of every hidden layer."""
    lr_multiplier: PositiveFloat = 0.01
    """Factor by which its parameters are stored enlarged, so that they move less."""


MappingConfig = Annotated[NoMappingConfig | MLPMappingConfig, Field(discriminator="kind")]


class AnyGeneratorConfig(Config):
    """What every generator has."""

    width: PositiveInt
    """Channels of the first, widest feature map (resnet: 256 at 32 px, 1024 at 64 and 128 px; biggan: 4·ch and 16·ch; dcgan: 512)."""
    conv: ConvConfig = PlainConvConfig()
    """The convolutions of its blocks."""
    conv_to_rgb: bool = False
    """Use ``conv`` for the convolutions that make the image too (stylegan2, gigagan: one kernel, no demodulation)."""
    norm: GeneratorNormConfig = BatchNormConfig()
    """The norms of its blocks."""
    activation: ActivationName = "relu"
    """The activation of its blocks. In resnet and skip, weights start by its gain (√2 for relu and leaky_relu)."""
    attention: tuple[PositiveInt, ...] = ()
    """Resolutions with self-attention (mimicry's SAGAN: 16 at 32 px, 32 at 128 px; BigGAN: 64 at 64 and 128 px; StudioGAN: 16 at 32 px)."""
    mapping: MappingConfig = NoMappingConfig()
    """A mapping network in front of it."""
    spectral_norm: bool = False
    """Normalise every weight but class embeddings spectrally (SAGAN, BigGAN)."""
    spectral_eps: PositiveFloat = 1e-12
    """Guard of the power iteration's normalisations."""
    orthogonal: NonNegativeFloat = 0.0
    """Weight β of orthogonal regularisation; 5e-5 is BigGAN-PyTorch's strength of 1e-4."""


class ResNetGeneratorConfig(AnyGeneratorConfig):
    """The SNGAN residual generator."""

    kind: Literal["resnet"] = "resnet"
    latent_dim: PositiveInt = 128
    """Dimension of z."""
    block_latent: NonNegativeInt = 0
    """The last so many numbers of z condition the blocks alone, the others the first map alone: a control of GConv; 0: all do both."""
    conv_in_shortcuts: bool = False
    """Use ``conv`` for the 1×1 shortcuts too."""
    order: Literal["standard", "whitened"] = "standard"
    """Norm, activation, convolution; or activation, norm, convolution: the whitening unit."""


class DCGANGeneratorConfig(AnyGeneratorConfig):
    """The DCGAN generator: transposed 4×4 convolutions."""

    kind: Literal["dcgan"] = "dcgan"
    latent_dim: PositiveInt = 100
    """Dimension of z."""


class BigGANGeneratorConfig(AnyGeneratorConfig):
    """The BigGAN generator: a chunk of z and a shared class embedding for every block."""

    kind: Literal["biggan"] = "biggan"
    latent_dim: PositiveInt = 120
    """Dimension of z; hierarchical, a multiple of 4, 5, 6 chunks at 32, 64, 128 px (StudioGAN: 80, 100, 120)."""
    shared_dim: NonNegativeInt = 128
    """Dimension of the shared class embedding of a conditional run; 0: none, each norm has its own table."""
    hierarchical: bool = True
    """Split z into chunks, one for the first map and one for each block."""
    conv_in_shortcuts: bool = False
    """Use ``conv`` for the 1×1 shortcuts too."""
    order: Literal["standard", "whitened"] = "standard"
    """Norm, activation, convolution; or activation, norm, convolution: the whitening unit."""
    init: Literal["orthogonal", "normal"] = "orthogonal"
    """Initial weights; orthogonal: with biases of 0 (StudioGAN); normal: N(0, 0.02²), as in the CIFAR script of BigGAN-PyTorch."""
    spectral_norm: bool = True
    """Normalise every weight but class embeddings spectrally."""


class SkipGeneratorConfig(AnyGeneratorConfig):
    """StyleGAN2's skip generator: the image is the sum of one from every resolution."""

    kind: Literal["skip"] = "skip"
    latent_dim: PositiveInt = 128
    """Dimension of z."""
    activation: ActivationName = "leaky_relu"
    """The activation of its blocks, whose weights start by its gain (√2 for relu and leaky_relu)."""


class AnyDiscriminatorConfig(Config):
    """What every discriminator has; with the projection head when the run is conditional."""

    width: PositiveInt
    """Channels of the last, widest feature map (resnet: 128 at 32 px, 1024 at 64 and 128 px; biggan: 4·ch and 16·ch, StudioGAN's 2·ch at
    32 px; dcgan: 512)."""
    norm: DiscriminatorNormConfig = SpectralNormConfig()
    """How the discriminator's layers are kept Lipschitz."""
    conv: DiscriminatorConvConfig = PlainConvConfig()
    """The convolutions of its blocks, but those that see the images."""
    block_norm: BlockNormConfig = NoNorm2dConfig()
    """Norms between its layers.

    All but "group" let an image's logit depend on the other images of its batch: real and generated images are then passed through the
    discriminator apart, as in DCGAN, and a gradient penalty is refused."""
    activation: ActivationName = "relu"
    """The activation of its blocks. In resnet and skip, weights start by its gain (√2 for relu and leaky_relu)."""
    attention: tuple[PositiveInt, ...] = ()
    """Resolutions with self-attention (mimicry's SAGAN: 8 at 32 px, 32 at 128 px; BigGAN: 64 at 128 px; StudioGAN: 16 at 32 px)."""
    orthogonal: NonNegativeFloat = 0.0
    """Weight β of orthogonal regularisation; 5e-5 is BigGAN-PyTorch's strength of 1e-4."""

    @property
    def coupling(self) -> str | None:
        """Return the key and value that let an image's logit depend on the other images of its batch, if there is one."""
        if self.block_norm.kind in ("batch", "iter", "group_plus"):
            return f'discriminator.block_norm.kind = "{self.block_norm.kind}"'
        if self.conv.kind == "invariant" and self.conv.whiten:
            return "discriminator.conv.whiten = true"
        if self.norm.kind == "conv_norm" and self.norm.bn:
            return "discriminator.norm.bn = true"
        return None


class ResNetDiscriminatorConfig(AnyDiscriminatorConfig):
    """The SNGAN residual discriminator."""

    kind: Literal["resnet"] = "resnet"
    middle: Literal["thin", "wide"] = "thin"
    """Width between a block's two convolutions: its input's (SNGAN, mimicry) or its output's (StudioGAN)."""
    shortcut_preact: bool = False
    """Rectify the shortcut's input, as mimicry's and StudioGAN's in-place ReLU does."""
    pooling: Literal["sum", "mean"] = "sum"
    """Sum over the pixels of the last map, or their mean (WGAN-GP)."""


class DCGANDiscriminatorConfig(AnyDiscriminatorConfig):
    """The DCGAN discriminator: strided 4×4 convolutions."""

    kind: Literal["dcgan"] = "dcgan"
    block_norm: BlockNormConfig = NoNorm2dConfig()
    """Norms after every convolution but the first.

    DCGAN as published has "batch", with norm.kind = "none"; each batch, real and generated, is normalised alone, as with every norm that
    couples the images of a batch."""
    activation: ActivationName = "leaky_relu"
    """The activation after every convolution."""


class BigGANDiscriminatorConfig(AnyDiscriminatorConfig):
    """The BigGAN discriminator: wide residual blocks."""

    kind: Literal["biggan"] = "biggan"
    shortcut_preact: bool = False
    """Rectify the shortcut's input, as StudioGAN's in-place ReLU does."""
    init: Literal["orthogonal", "normal"] = "orthogonal"
    """Initial weights; orthogonal: with biases of 0 (StudioGAN); normal: N(0, 0.02²), as in the CIFAR script of BigGAN-PyTorch."""
    pooling: Literal["sum", "mean"] = "sum"
    """Sum over the pixels of the last map, or their mean (WGAN-GP)."""


class SkipDiscriminatorConfig(AnyDiscriminatorConfig):
    """A discriminator that sees the image at every resolution."""

    kind: Literal["skip"] = "skip"
    activation: ActivationName = "leaky_relu"
    """The activation after every convolution, whose weights start by its gain (√2 for relu and leaky_relu)."""
    pooling: Literal["sum", "mean"] = "sum"
    """Sum over the pixels of the last map, or their mean (WGAN-GP)."""


def _kind(value: object) -> object:
    """Return the kind of a network; a config file may leave it out and means "resnet"."""
    return value.get("kind", "resnet") if isinstance(value, dict) else getattr(value, "kind", None)


GeneratorConfig = Annotated[
    Annotated[ResNetGeneratorConfig, Tag("resnet")]
    | Annotated[DCGANGeneratorConfig, Tag("dcgan")]
    | Annotated[BigGANGeneratorConfig, Tag("biggan")]
    | Annotated[SkipGeneratorConfig, Tag("skip")],
    Discriminator(_kind),
]
DiscriminatorConfig = Annotated[
    Annotated[ResNetDiscriminatorConfig, Tag("resnet")]
    | Annotated[DCGANDiscriminatorConfig, Tag("dcgan")]
    | Annotated[BigGANDiscriminatorConfig, Tag("biggan")]
    | Annotated[SkipDiscriminatorConfig, Tag("skip")],
    Discriminator(_kind),
]
