"""Config of the exchangeable parts of a block: the generator's convolution, the discriminator's normalisation."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from gconv_gan.config.base import Config


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
    granularity: Literal["kernel", "filter", "channel"] = "kernel"
    """What one gate of a bank scales; a dictionary is gated per filter by definition."""
    bias: Literal["static", "dynamic", "none"] = "static"
    """Bias of the layer; dynamic: selected by the same gates."""
    temperature: PositiveFloat = 1.0
    """Divides the gate's logits."""
    top_m: PositiveInt | None = None
    """How many gates stay open under selection = top_m."""
    gate_hidden: PositiveInt | None = None
    """Width of the gate's hidden layer; None: one linear map."""
    gate_init_std: Annotated[float, Field(ge=0)] = 0.0
    """Standard deviation of the gate's initial weights; 0 starts every latent with the same kernel."""


ConvConfig = Annotated[PlainConvConfig | GConvConfig, Field(discriminator="kind")]


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
