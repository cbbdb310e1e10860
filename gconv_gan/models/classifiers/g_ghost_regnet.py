"""RegNet-X, and its form with G-Ghost stages.

Radosavovic et al., "Designing Network Design Spaces", CVPR 2020 (arXiv 2003.13678); Han et al., "GhostNets on Heterogeneous
Devices via Cheap Operations", IJCV 2022 (arXiv 2201.03297). Sizes equal timm's ``regnetx_*`` and the published ones of G-Ghost.
"""

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from torch import nn

from gconv_gan.layers.blocks.block_parts import STANDARD, Parts
from gconv_gan.layers.blocks.g_ghost import GGhostStage
from gconv_gan.layers.blocks.residual import regnet_block, stage
from gconv_gan.models.classifiers.classifier import Classifier
from gconv_gan.models.classifiers.parts.stems import halving_stem
from gconv_gan.models.classifiers.resnet import StemConstructor


class RegNetRow(NamedTuple):
    """Blocks and channels of the four stages, and the channels per group."""

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    group_width: int


REGNET_X: dict[str, RegNetRow] = {
    "002": RegNetRow((1, 1, 4, 7), (24, 56, 152, 368), 8),
    "004": RegNetRow((1, 2, 7, 12), (32, 64, 160, 384), 16),
    "006": RegNetRow((1, 3, 5, 7), (48, 96, 240, 528), 24),
    "008": RegNetRow((1, 3, 7, 5), (64, 128, 288, 672), 16),
    "016": RegNetRow((2, 4, 10, 2), (72, 168, 408, 912), 24),
    "032": RegNetRow((2, 6, 15, 2), (96, 192, 432, 1008), 48),
    "040": RegNetRow((2, 5, 14, 2), (80, 240, 560, 1360), 40),
    "064": RegNetRow((2, 4, 10, 1), (168, 392, 784, 1624), 56),
    "080": RegNetRow((2, 5, 15, 1), (80, 240, 720, 1920), 120),
    "120": RegNetRow((2, 5, 11, 1), (224, 448, 896, 2240), 112),
    "160": RegNetRow((2, 6, 13, 1), (256, 512, 896, 2048), 128),
    "320": RegNetRow((2, 7, 13, 1), (336, 672, 1344, 2520), 168),
}


class RegNetX(Classifier):
    """3×3/2 stem, four stages of stride 2, mean over positions, linear head.

    Shapes as in ``Classifier``; ``feature_dim`` is ``widths[-1]``. In the whitened order a norm follows the last stage.

    Args:
        depths: blocks per stage.
        widths: channels per stage.
        group_width: channels per group of the 3×3 convolutions.
        ghost_ratio: share of the channels that cheap operations compute in the stages after the first, see ``GGhostStage``; 0: none.
        stem: ``stem(width, parts)``, see ``models/classifiers/parts/stems.py``.
        stem_width: its channels.
        strides: of the stages.
        num_classes: number of logits.
        dropout: of the features (G-Ghost: 0.2).
        parts: convolution, norm, activation, attention, order.

    """

    def __init__(
        self,
        *,
        depths: Sequence[int],
        widths: Sequence[int],
        group_width: int,
        ghost_ratio: float = 0.0,
        stem: StemConstructor = halving_stem,
        stem_width: int = 32,
        strides: Sequence[int] = (2, 2, 2, 2),
        num_classes: int = 1000,
        dropout: float = 0.0,
        parts: Parts = STANDARD,
    ) -> None:
        steps: OrderedDict[str, nn.Module] = OrderedDict(stem=stem(stem_width, parts))
        block = partial(regnet_block, group_width=group_width, parts=parts)
        channels = stem_width
        for index, (depth, width, stride) in enumerate(zip(depths, widths, strides, strict=True), start=1):
            if ghost_ratio > 0 and index > 1:
                steps[f"stage{index}"] = GGhostStage(
                    channels, width, depth, group_width=group_width, stride=stride, ratio=ghost_ratio, parts=parts
                )
            else:
                steps[f"stage{index}"] = stage(block, channels, width, depth, stride)
            channels = width
        if parts.order == "whitened":
            steps["norm"] = parts.normalisation(channels)
        super().__init__(nn.Sequential(steps), channels, num_classes=num_classes, dropout=dropout)
