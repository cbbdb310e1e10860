"""Config of the exchangeable parts of a block: convolutions, activations, and the discriminator's normalisation; norms in ``norms``."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from gconv_gan.config.base import Config
from gconv_gan.config.norms import Fraction, Running

ActivationName = Literal["relu", "leaky_relu", "elu", "selu", "gelu", "silu", "mish", "softplus", "tanh"]


class PlainConvConfig(Config):
    """Every convolution is an ordinary one."""

    kind: Literal["plain"] = "plain"


class GConvConfig(Config):
    """Every 3×3 convolution of a generator block is a ``GConv2d``."""

    kind: Literal["gconv"] = "gconv"
    mode: Literal["dictionary", "bank"] = "dictionary"
    """dictionary: gate filters, then combine them by a 1×1; bank: mix whole kernels."""
    num_kernels: PositiveInt | None = None
    """Filters of a dictionary (None: output channels) or kernels of a bank (None: 4)."""
    selection: Literal["sigmoid", "softmax", "relu", "softplus", "top_m", "open"] = "sigmoid"
    """Non-linearity of the gate; open: g = 1 for every latent, the control arm."""
    granularity: Literal["kernel", "filter", "channel", "tap"] = "kernel"
    """What one gate of a bank scales; a dictionary is gated per filter by definition."""
    bias: Literal["static", "dynamic", "none"] = "static"
    """Bias of the layer; dynamic: selected by the same gates."""
    temperature: PositiveFloat = 1.0
    """Divides the gate's logits, at the start."""
    anneal_images: PositiveInt | None = None
    """Images over which the temperature goes to 1 in a straight line; None: never."""
    top_m: PositiveInt | None = None
    """How many gates stay open under selection = top_m."""
    gate_hidden: PositiveInt | None = None
    """Width of the gate's hidden layer; None: one linear map."""
    gate_init_std: Annotated[float, Field(ge=0)] = 0.1
    """Standard deviation of the gate's initial weights; 0 starts every latent with the same kernel."""
    class_gates: bool = False
    """Let the gates see the class beside the latent vector (conditional runs)."""
    class_dim: PositiveInt = 128
    """Length of a class's embedding under class_gates."""


class GhostConvConfig(Config):
    """Every convolution is a ``GhostModule`` without norm and activation of its own: the network's follow it."""

    kind: Literal["ghost"] = "ghost"
    ratio: PositiveInt = 2
    """Output maps per map that an ordinary convolution makes."""
    cheap_kernel_size: PositiveInt = 3
    """Side of the depthwise kernels that make the others; odd."""


class CondConvConfig(Config):
    """Every 3×3 convolution of a generator block is a ``CondConv2d``: a bank mixed by the pooled feature map."""

    kind: Literal["condconv"] = "condconv"
    num_kernels: PositiveInt = 4
    """Kernels of the bank."""
    bias: Literal["static", "dynamic", "none"] = "dynamic"
    """Bias of the layer; dynamic: mixed by the same gates."""


class DyConvConfig(Config):
    """Every 3×3 convolution of a generator block is a ``DyConv2d``: a bank mixed by attention with a temperature."""

    kind: Literal["dyconv"] = "dyconv"
    num_kernels: PositiveInt = 4
    """Kernels of the bank."""
    reduction: Fraction = 0.25
    """Width of the attention's hidden layer over the input channels."""
    bias: Literal["static", "dynamic", "none"] = "dynamic"
    """Bias of the layer; dynamic: mixed by the same gates."""
    temperature: PositiveFloat = 30.0
    """Divides the attention's logits at the start."""
    anneal_images: PositiveInt | None = 500_000
    """Images over which the temperature goes to 1 in a straight line (10 epochs of CIFAR-10); None: never."""


class ODConvConfig(Config):
    """Every 3×3 convolution of a generator block is an ``ODConv2d``: attention over kernels, channels, filters and taps."""

    kind: Literal["odconv"] = "odconv"
    num_kernels: PositiveInt = 4
    """Kernels of the bank."""
    reduction: Fraction = 0.0625
    """Width of the attention's hidden layer over the input channels; at least 16 units."""
    temperature: PositiveFloat = 30.0
    """Divides the attention's logits at the start."""
    anneal_images: PositiveInt | None = 500_000
    """Images over which the temperature goes to 1 in a straight line (10 epochs of CIFAR-10); None: never."""


class CConvConfig(Config):
    """Every 3×3 convolution of a generator block is a ``CConv2d``: scaled and shifted by the class."""

    kind: Literal["cconv"] = "cconv"


class StyleGAN2ConvConfig(Config):
    """Every 3×3 convolution of a generator block is a ``ModulatedConv2d``: modulated by the latent vector, and demodulated."""

    kind: Literal["stylegan2"] = "stylegan2"
    equalized_lr: bool = True
    """Store kernels of unit variance and scale them at run time."""


class GigaGANConvConfig(Config):
    """Every 3×3 convolution of a generator block is an ``AdaptiveConv2d``: kernels selected, modulated and demodulated."""

    kind: Literal["gigagan"] = "gigagan"
    num_kernels: PositiveInt = 2
    """Kernels of the bank."""
    equalized_lr: bool = False
    """Store kernels of unit variance and scale them at run time."""
    gate_init_std: Annotated[float, Field(ge=0)] = 0.1
    """Standard deviation of the gate's initial weights; 0 starts every latent with the same kernel."""


class InvariantConv2dConfig(Config):
    """``InvariantConv2d``, which takes the place of convolution and norm: set norm.kind none."""

    kind: Literal["invariant"] = "invariant"
    local_norm: Literal["layer", "l1", "none"] = "layer"
    """Normalisation of each image before the convolution, against changes of scale."""
    whiten: bool = True
    """Whiten the patches over the batch, against linear mixing of the channels."""
    block_size: PositiveInt = 64
    """Channels whitened together."""
    sampling_stride: PositiveInt = 3
    """Distance of the patches that the covariance is taken over."""
    iterations: PositiveInt = 5
    """Newton iterations."""


class GANInvariantConvConfig(InvariantConv2dConfig):
    """Every 3×3 convolution of a generator block is an ``InvariantConv2d``; it needs no norm."""

    block_size: PositiveInt = 16
    """Channels whitened together (released code: 64, which costs ten times a plain convolution at small batches)."""
    running: Running = "matrix"
    """What is averaged for evaluation: the whitening matrix or, nearer to a batch's own where weights move fast, the covariance."""
    freeze: bool = False
    """Update the statistics in the first 100 of every 1000 passes alone."""


ConvConfig = Annotated[
    PlainConvConfig
    | GConvConfig
    | GhostConvConfig
    | CondConvConfig
    | DyConvConfig
    | ODConvConfig
    | CConvConfig
    | StyleGAN2ConvConfig
    | GigaGANConvConfig
    | GANInvariantConvConfig,
    Field(discriminator="kind"),
]


class DiscriminatorInvariantConvConfig(GANInvariantConvConfig):
    """Every convolution of a block, but one that sees the images, is an ``InvariantConv2d``; without whitening it is scale-invariant."""

    whiten: bool = False
    """Whiten the patches over the batch, which lets an image's logit depend on the other images."""


DiscriminatorConvConfig = Annotated[PlainConvConfig | GhostConvConfig | DiscriminatorInvariantConvConfig, Field(discriminator="kind")]
"""Convolutions of a discriminator; the other kinds are selected by a latent vector or a class, which it is not given."""


class NoNormConfig(Config):
    """The discriminator is not normalised."""

    kind: Literal["none"] = "none"


class SpectralNormConfig(Config):
    """Every convolution, linear map and embedding is divided by its reshaped spectral norm."""

    kind: Literal["spectral"] = "spectral"
    eps: PositiveFloat = 1e-12
    """Guard of the power iteration's normalisations."""


class ConvNormConfig(Config):
    """Every convolution is a ``ConvNorm2d``; linear maps and embeddings keep spectral normalisation."""

    kind: Literal["conv_norm"] = "conv_norm"
    affine: bool = False
    """Add the learned depthwise filter (drops the Lipschitz bound)."""
    bn: bool = False
    """Add batch normalisation (drops the bound, couples the images of a batch)."""
    detach: bool = True
    """Treat the preconditioner as a constant in the backward pass, as the official code does."""
    scale: Literal["none", "sqrt_out", "exact"] = "none"
    """Divide further so that the layer is 1-Lipschitz: by √out_channels, or by its exact norm."""


DiscriminatorNormConfig = Annotated[NoNormConfig | SpectralNormConfig | ConvNormConfig, Field(discriminator="kind")]
