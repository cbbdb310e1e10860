"""The tables of layers: a new layer is its file and a row here."""

from functools import partial

from torch import nn

from gconv_gan.config.schema import Table
from gconv_gan.layers.activations import LEAKY_RELU
from gconv_gan.layers.blocks.classifier_parts import as_defined, classifier_batch_norm
from gconv_gan.layers.blocks.ghost import GhostModule
from gconv_gan.layers.blocks.non_local import NonLocal2d
from gconv_gan.layers.blocks.squeeze_excite import SqueezeExcite
from gconv_gan.layers.dynamic.c_conv import CConv2d
from gconv_gan.layers.dynamic.cond_conv import CondConv2d
from gconv_gan.layers.dynamic.dy_conv import DyConv2d
from gconv_gan.layers.dynamic.gconv import GConv2d
from gconv_gan.layers.dynamic.modulated_conv import AdaptiveConv2d, ModulatedConv2d
from gconv_gan.layers.dynamic.od_conv import ODConv2d
from gconv_gan.layers.lipschitz.conv_norm import ConvNorm2d
from gconv_gan.layers.lipschitz.spectral_norm import spectral_conv
from gconv_gan.layers.lipschitz.weight_norms import ConvNorms, SpectralNorms
from gconv_gan.layers.norms.batch_norm import BatchNorm2d
from gconv_gan.layers.norms.conditioned_norms import generator_batch_norm
from gconv_gan.layers.norms.group_norm import GroupNorm, GroupNormPlus
from gconv_gan.layers.norms.invariant_conv import InvariantConv2d
from gconv_gan.layers.norms.iter_norm import IterNorm
from gconv_gan.layers.norms.self_modulation import SelfModulatedBatchNorm2d
from gconv_gan.layers.resample import ResampledConv2d

GEOMETRY = ("stride", "padding", "dilation", "groups", "padding_mode", "resample")
ghost = partial(GhostModule, conv=ResampledConv2d)

CONVS = Table(
    "CONVS",
    {
        "plain": ResampledConv2d,
        "gconv": GConv2d,
        "ghost": ghost,
        "condconv": CondConv2d,
        "dyconv": DyConv2d,
        "odconv": ODConv2d,
        "cconv": CConv2d,
        "stylegan2": ModulatedConv2d,
        "gigagan": AdaptiveConv2d,
        "invariant": partial(InvariantConv2d, block_size=16),
    },
    given=("latent_dim", "num_classes", *GEOMETRY),
)
"""Convolutions of a generator."""

DISCRIMINATOR_CONVS = Table(
    "DISCRIMINATOR_CONVS",
    {"plain": ResampledConv2d, "ghost": ghost, "invariant": partial(InvariantConv2d, block_size=16, whiten=False)},
    given=GEOMETRY,
)
"""Convolutions of a discriminator; the other kinds need a latent vector or a class, which a discriminator does not receive."""

BATCH_STATISTICS = {"group_plus": ("statistics",)}  # this mode has no running averages

NORMS = Table(
    "NORMS",
    {
        "batch": generator_batch_norm,
        "self_modulated": SelfModulatedBatchNorm2d,
        "none": nn.Identity,
        "iter": IterNorm,
        "group": GroupNorm,
        "group_plus": GroupNormPlus,
    },
    given=("latent_dim", "num_classes"),
    fixed=BATCH_STATISTICS,
)
"""Norms of a generator. All but "none" take scale and shift from the condition, as BatchNorm does ("iter" with affine = true)."""

BLOCK_NORMS = Table(
    "BLOCK_NORMS",
    {"none": nn.Identity, "batch": BatchNorm2d, "iter": IterNorm, "group": GroupNorm, "group_plus": GroupNormPlus},
    fixed=BATCH_STATISTICS,
)
"""Norms between the layers of a discriminator."""

WEIGHT_NORMS = Table("WEIGHT_NORMS", {"none": None, "spectral": SpectralNorms, "conv_norm": ConvNorms})
"""Normalisations of a discriminator's weights."""

ACTIVATIONS = Table(
    "ACTIVATIONS",
    {
        "relu": nn.ReLU,
        "leaky_relu": LEAKY_RELU,
        "elu": nn.ELU,
        "selu": nn.SELU,
        "gelu": nn.GELU,
        "silu": nn.SiLU,
        "mish": nn.Mish,
        "softplus": nn.Softplus,
        "tanh": nn.Tanh,
    },
)
"""Activations, without parameters and not in place: skip connections use the input again."""

CLASSIFIER_CONVS = Table(
    "CLASSIFIER_CONVS",
    {
        "defined": as_defined,
        "plain": nn.Conv2d,
        "spectral": spectral_conv,
        "conv_norm": partial(ConvNorm2d, affine=True, bn=True),
        "ghost": GhostModule,
        "invariant": InvariantConv2d,
    },
    given=GEOMETRY,
    fixed={"invariant": ("running", "freeze")},
)
"""Convolutions of a classifier: ``conv(in_channels, out_channels, kernel_size, *, stride, padding, dilation, groups, bias)``."""

CLASSIFIER_NORMS = Table(
    "CLASSIFIER_NORMS",
    {
        "defined": as_defined,
        "none": None,
        "batch": classifier_batch_norm,
        "group": GroupNorm,
        "group_plus": GroupNormPlus,
        "iter": IterNorm,
    },
    fixed={"iter": ("running",)},
)
"""Norms of a classifier: ``norm(channels)``."""

ATTENTIONS = Table(
    "ATTENTIONS",
    {"defined": as_defined, "none": None, "squeeze_excite": SqueezeExcite, "non_local": NonLocal2d},
    fixed={"non_local": ("order", "value_channels", "pool", "output_norm", "positions")},
)
"""Attention at the end of a classifier's residual branches: ``attention(channels)``."""
