"""MobileNetV3: inverted bottlenecks with hard-swish and squeeze-and-excitation.

Howard et al., "Searching for MobileNetV3", ICCV 2019 (arXiv 1905.02244), tables 1 and 2. Sizes and outputs equal timm's
``mobilenetv3_large_100`` and ``mobilenetv3_small_100``.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from torch import nn

from gconv_gan.layers.blocks.block_parts import ActivationConstructor, Parts
from gconv_gan.layers.blocks.inverted_bottleneck import MOBILENET_V3_ATTENTION, inverted_bottleneck, scaled_channels
from gconv_gan.layers.blocks.residual import ResidualBlock
from gconv_gan.models.classifiers.classifier import Classifier
from gconv_gan.models.classifiers.parts.heads import expanded_features
from gconv_gan.models.classifiers.parts.stems import halving_stem


class MobileRow(NamedTuple):
    """One block of a mobile network's table."""

    kernel_size: int
    expanded: int | float
    """Channels of the depthwise convolution."""
    out_channels: int
    attends: bool
    late: bool
    """Uses the late activation, hard-swish."""
    stride: int


LARGE = (
    MobileRow(3, 16, 16, False, False, 1),
    MobileRow(3, 64, 24, False, False, 2),
    MobileRow(3, 72, 24, False, False, 1),
    MobileRow(5, 72, 40, True, False, 2),
    *[MobileRow(5, 120, 40, True, False, 1)] * 2,
    MobileRow(3, 240, 80, False, True, 2),
    MobileRow(3, 200, 80, False, True, 1),
    *[MobileRow(3, 184, 80, False, True, 1)] * 2,
    MobileRow(3, 480, 112, True, True, 1),
    MobileRow(3, 672, 112, True, True, 1),
    MobileRow(5, 672, 160, True, True, 2),
    *[MobileRow(5, 960, 160, True, True, 1)] * 2,
)
SMALL = (
    MobileRow(3, 16, 16, True, False, 2),
    MobileRow(3, 72, 24, False, False, 2),
    MobileRow(3, 88, 24, False, False, 1),
    MobileRow(5, 96, 40, True, True, 2),
    *[MobileRow(5, 240, 40, True, True, 1)] * 2,
    MobileRow(5, 120, 48, True, True, 1),
    MobileRow(5, 144, 48, True, True, 1),
    MobileRow(5, 288, 96, True, True, 2),
    *[MobileRow(5, 576, 96, True, True, 1)] * 2,
)
HARD_SWISH = Parts(activation=nn.Hardswish, attention=MOBILENET_V3_ATTENTION)


class MobileNetV3(Classifier):
    """3×3/2 stem, the table's inverted bottlenecks, 1×1 expansion, pooling, a hidden 1×1 layer, linear head.

    Shapes as in ``Classifier``; the trunk divides the resolution by 32.

    Args:
        rows: ``LARGE`` or ``SMALL``.
        feature_dim: of the hidden layer (large 1280, small 1024).
        width: multiplies every channel count but ``feature_dim``, rounded to multiples of 8.
        num_classes: number of logits.
        dropout: of the features.
        early_activation: of the rows that are not ``late``; the rest has the parts' activation.
        parts: convolution, norm, activation, order; attention in the rows that have one.

    """

    def __init__(
        self,
        *,
        rows: Sequence[MobileRow] = LARGE,
        feature_dim: int = 1280,
        width: int | float = 1.0,
        num_classes: int = 1000,
        dropout: float = 0.2,
        early_activation: ActivationConstructor = nn.ReLU,
        parts: Parts = HARD_SWISH,
    ) -> None:
        scaled = partial(scaled_channels, width=width, divisor=8)
        channels = scaled(16)
        steps: OrderedDict[str, nn.Module] = OrderedDict(stem=halving_stem(channels, parts))
        early = replace(parts, activation=early_activation)
        for index, row in enumerate(rows, start=1):
            outputs = scaled(row.out_channels)
            branch = inverted_bottleneck(
                channels,
                scaled(row.expanded),
                outputs,
                row.kernel_size,
                stride=row.stride,
                attention=parts.attention if row.attends else None,
                parts=parts if row.late else early,
            )
            keeps_shape = row.stride == 1 and channels == outputs
            steps[f"block{index}"] = ResidualBlock(branch, nn.Identity(), nn.Identity()) if keeps_shape else branch
            channels = outputs
        steps.update(expanded_features(channels, scaled(rows[-1].expanded), feature_dim, parts))
        super().__init__(nn.Sequential(steps), feature_dim, num_classes=num_classes, dropout=dropout)
