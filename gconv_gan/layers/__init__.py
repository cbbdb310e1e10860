"""The shared layer package, one flat namespace. Each name's own file holds its equation, its source and its errors."""

from gconv_gan.layers.activations import activation_gain
from gconv_gan.layers.blocks.block_parts import Parts
from gconv_gan.layers.blocks.g_ghost import GGhostStage
from gconv_gan.layers.blocks.ghost import GhostBottleneck, GhostModule
from gconv_gan.layers.blocks.multigrid import MultigridChannels2d, MultigridInvertedBottleneck
from gconv_gan.layers.blocks.non_local import NonLocal2d
from gconv_gan.layers.blocks.residual_attention import ResidualAttention, SoftMask
from gconv_gan.layers.blocks.selective_kernel import SelectiveKernel2d
from gconv_gan.layers.blocks.squeeze_excite import SqueezeExcite
from gconv_gan.layers.conditioning import Condition, Conditioned, apply
from gconv_gan.layers.dynamic.c_conv import CConv2d
from gconv_gan.layers.dynamic.cond_conv import CondConv2d
from gconv_gan.layers.dynamic.dy_conv import DyConv2d
from gconv_gan.layers.dynamic.gconv import GConv2d
from gconv_gan.layers.dynamic.kernel_banks import KernelBank2d
from gconv_gan.layers.dynamic.kernel_gates import KernelGate, LatentGate
from gconv_gan.layers.dynamic.modulated_conv import AdaptiveConv2d, ModulatedConv2d
from gconv_gan.layers.dynamic.od_conv import ODConv2d
from gconv_gan.layers.lipschitz.conv_norm import ConvNorm2d, cached_spectra, conv_norm, remove_conv_norm
from gconv_gan.layers.lipschitz.operator_norms import discriminator_table, layer_norms
from gconv_gan.layers.lipschitz.spectral_norm import apply_spectral_norm, spectral_norm
from gconv_gan.layers.norms.batch_norm import BatchNorm2d, ClassConditionalNorm2d, ConditionalBatchNorm2d, LatentBatchNorm2d, LatentNorm2d
from gconv_gan.layers.norms.batch_norm_init import InputBatchNorm2d, initialise_batch_norms
from gconv_gan.layers.norms.group_norm import GroupNorm, GroupNormPlus
from gconv_gan.layers.norms.invariant_conv import InvariantConv2d
from gconv_gan.layers.norms.iter_norm import IterNorm
from gconv_gan.layers.norms.self_modulation import SelfModulatedBatchNorm2d
from gconv_gan.layers.norms.whitened_unit import WhitenedUnit
from gconv_gan.layers.resample import ResampledConv2d

__all__ = [
    "AdaptiveConv2d",
    "BatchNorm2d",
    "CConv2d",
    "CondConv2d",
    "Condition",
    "ClassConditionalNorm2d",
    "ConditionalBatchNorm2d",
    "Conditioned",
    "ConvNorm2d",
    "DyConv2d",
    "GConv2d",
    "GGhostStage",
    "GhostBottleneck",
    "GhostModule",
    "GroupNorm",
    "GroupNormPlus",
    "InputBatchNorm2d",
    "InvariantConv2d",
    "IterNorm",
    "KernelBank2d",
    "KernelGate",
    "LatentBatchNorm2d",
    "LatentGate",
    "LatentNorm2d",
    "ModulatedConv2d",
    "MultigridChannels2d",
    "MultigridInvertedBottleneck",
    "NonLocal2d",
    "ODConv2d",
    "Parts",
    "ResampledConv2d",
    "ResidualAttention",
    "SelectiveKernel2d",
    "SelfModulatedBatchNorm2d",
    "SoftMask",
    "SqueezeExcite",
    "WhitenedUnit",
    "activation_gain",
    "apply",
    "apply_spectral_norm",
    "cached_spectra",
    "conv_norm",
    "discriminator_table",
    "initialise_batch_norms",
    "layer_norms",
    "remove_conv_norm",
    "spectral_norm",
]
