"""The convolution unit with a whitened input of the convolution: norm, convolution, activation.

Cho, Cho, Kim, Kim, "Improving Generalization of Batch Whitening by Convolutional Unit Optimization", ICCV 2021, arXiv 2108.10629;
checked against YooshinCho/pytorch_ConvUnitOptimization.
"""

from collections import OrderedDict
from functools import partial

from torch import nn

from gconv_gan.layers.blocks.block_parts import ActivationConstructor, ConvConstructor, NormConstructor, Parts
from gconv_gan.layers.norms.iter_norm import IterNorm

BARE_ITER_NORM: NormConstructor = partial(IterNorm, affine=False)


class WhitenedUnit(nn.Sequential):
    r"""Whitening *before* the convolution, as the theory of whitening assumes, instead of after it.

    .. math:: y = \varphi\big(A * N(x) + b\big)

    The norm has ``in_channels`` channels and, by default, neither scale nor shift: a convolution absorbs the scale, and a shift is a bias
    except at borders. Zeros that pad the white map are its mean. A network with ``order="whitened"`` consists of such units: no norm in
    the stem or at the end of a branch, one on the shortcut's 1x1 convolution, one before the head.

    Input [B, I, H, W]; the result has the input's size divided by the stride. The children are ``norm``, ``conv``, ``activation``.

    Args:
        in_channels: I.
        out_channels: O.
        kernel_size: side of the kernel.
        stride: of the convolution.
        dilation: of the convolution.
        groups: of the convolution.
        norm: ``norm(channels)``.
        conv: constructor of the convolution, as ``nn.Conv2d``, which starts N(0, 2 / fan out) with bias 0.
        activation: constructor of the activation.

    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        norm: NormConstructor = BARE_ITER_NORM,
        conv: ConvConstructor = nn.Conv2d,
        activation: ActivationConstructor = nn.ReLU,
    ) -> None:
        parts = Parts(conv=conv, norm=norm, activation=activation, order="whitened")
        unit = parts.unit(in_channels, out_channels, kernel_size, stride=stride, dilation=dilation, groups=groups)
        super().__init__(OrderedDict(unit.named_children()))
