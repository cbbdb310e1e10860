"""Multigrid-in-channels networks: the residual and the mobile family.

Eliasof, Ephrath, Ruthotto, Treister, "MGIC", SISC 45 (2023) S307-S328 (arXiv 2011.09128). Sizes equal BGUCompSci's
MultigridInChannelsCNNs; pooling, initial transfers and the single addition of a block's input follow the paper's equations.
"""

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial

from torch import nn

from gconv_gan.layers.blocks.block_parts import STANDARD, ActivationConstructor, Parts
from gconv_gan.layers.blocks.inverted_bottleneck import MOBILENET_V3_ATTENTION, scaled_channels
from gconv_gan.layers.blocks.multigrid import MultigridChannels2d, MultigridInvertedBottleneck
from gconv_gan.models.classifiers.classifier import Classifier
from gconv_gan.models.classifiers.mobilenet_v3 import MobileRow
from gconv_gan.models.classifiers.parts.heads import expanded_features
from gconv_gan.models.classifiers.parts.stems import cifar_stem
from gconv_gan.models.classifiers.resnet import ResNet, StemConstructor


class MGICResNet(ResNet):
    """A ``ResNet`` whose blocks are ``MultigridChannels2d``.

    Args:
        depths: blocks per stage.
        widths: channels per stage; the stem has the first.
        group_size: s_g, channels per group.
        dense_below: F; None: s_g.
        stem: ``stem(width, parts)``, see ``models/classifiers/parts/stems.py``.
        strides: of each stage's first block.
        num_classes: number of logits.
        parts: convolution, norm, activation, attention, order.

    """

    def __init__(
        self,
        *,
        depths: Sequence[int],
        widths: Sequence[int],
        group_size: int = 32,
        dense_below: int | None = None,
        stem: StemConstructor = cifar_stem,
        strides: Sequence[int] = (1, 2, 2, 2),
        num_classes: int = 10,
        parts: Parts = STANDARD,
    ) -> None:
        super().__init__(
            depths=depths,
            widths=widths,
            block=partial(MultigridChannels2d, group_size=group_size, dense_below=dense_below or group_size),
            stem=stem,
            stem_width=widths[0],
            strides=strides,
            num_classes=num_classes,
            parts=parts,
        )


# here ``expanded`` is a factor of the block's input channels
MGIC_LARGE = (
    MobileRow(3, 1, 16, False, False, 1),
    MobileRow(3, 4, 24, False, False, 2),
    MobileRow(3, 3, 24, False, False, 1),
    MobileRow(5, 3, 40, True, False, 2),
    *[MobileRow(5, 3, 40, True, False, 1)] * 2,
    MobileRow(3, 6, 80, False, True, 2),
    MobileRow(3, 2.5, 80, False, True, 1),
    *[MobileRow(3, 2.3, 80, False, True, 1)] * 2,
    *[MobileRow(3, 6, 112, True, True, 1)] * 2,
    MobileRow(5, 6, 160, True, True, 2),
    *[MobileRow(5, 6, 160, True, True, 1)] * 2,
)
MGIC_SMALL = (
    MobileRow(3, 1, 16, True, False, 2),
    MobileRow(3, 4.5, 24, False, False, 2),
    MobileRow(3, 3.67, 24, False, False, 1),
    MobileRow(5, 4, 40, True, True, 2),
    *[MobileRow(5, 6, 40, True, True, 1)] * 2,
    *[MobileRow(5, 3, 48, True, True, 1)] * 2,
    MobileRow(5, 6, 96, True, True, 2),
    *[MobileRow(5, 6, 96, True, True, 1)] * 2,
)


SQUEEZING = Parts(attention=MOBILENET_V3_ATTENTION)


class MGICMobileNetV3(Classifier):
    """1×1 stem at full resolution, the table's multigrid inverted bottlenecks, 1×1 unit, pooling, hidden 1×1 layer, linear head.

    Shapes as in ``Classifier``. The stem's stride of 1 is the published code's: at 224×224 the network needs a few times the MACs
    of MobileNetV3.

    Args:
        rows: ``MGIC_LARGE`` or ``MGIC_SMALL``.
        feature_dim: of the hidden layer (large 1280, small 1024).
        group_size: s_g, channels per group.
        dense_below: F; None: s_g.
        stem_stride: 1; 2 brings the cost near MobileNetV3's.
        num_classes: number of logits.
        dropout: of the features.
        late_activation: of the rows that are ``late``; the rest has the parts' activation.
        parts: convolution, norm, activation, order; attention in the rows that have one.

    """

    def __init__(
        self,
        *,
        rows: Sequence[MobileRow] = MGIC_LARGE,
        feature_dim: int = 1280,
        group_size: int = 32,
        dense_below: int | None = None,
        stem_stride: int = 1,
        num_classes: int = 1000,
        dropout: float = 0.0,
        late_activation: ActivationConstructor = nn.Hardswish,
        parts: Parts = SQUEEZING,
    ) -> None:
        channels = 16
        steps: OrderedDict[str, nn.Module] = OrderedDict(stem=parts.stem(3, channels, 1, stride=stem_stride))
        for index, row in enumerate(rows, start=1):
            steps[f"block{index}"] = MultigridInvertedBottleneck(
                channels,
                scaled_channels(channels, width=row.expanded, divisor=8),
                row.out_channels,
                row.kernel_size,
                row.stride,
                attention=parts.attention if row.attends else None,
                activation=late_activation if row.late else None,
                group_size=group_size,
                dense_below=dense_below or group_size,
                parts=parts,
            )
            channels = row.out_channels
        steps.update(expanded_features(channels, channels, feature_dim, parts))
        super().__init__(nn.Sequential(steps), feature_dim, num_classes=num_classes, dropout=dropout)
