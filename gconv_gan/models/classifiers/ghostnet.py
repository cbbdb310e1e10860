"""GhostNet: a mobile network of ghost bottlenecks.

Han et al., "GhostNet: More Features from Cheap Operations", CVPR 2020 (arXiv 1911.11907), table 1. Sizes and outputs equal timm's
``ghostnet_050``, ``ghostnet_100`` and ``ghostnet_130``.
"""

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial

from torch import nn

from gconv_gan.layers.blocks.block_parts import Parts
from gconv_gan.layers.blocks.ghost import GhostBottleneck
from gconv_gan.layers.blocks.inverted_bottleneck import GHOSTNET_ATTENTION, scaled_channels
from gconv_gan.models.classifiers.classifier import Classifier
from gconv_gan.models.classifiers.parts.heads import expanded_features

# rows of (kernel size, middle channels, output channels, attends), one tuple per resolution; a stage's first row has its stride
STAGES: tuple[tuple[tuple[int, int, int, bool], ...], ...] = (
    ((3, 16, 16, False),),
    ((3, 48, 24, False), (3, 72, 24, False)),
    ((5, 72, 40, True), (5, 120, 40, True)),
    ((3, 240, 80, False), (3, 200, 80, False), *[(3, 184, 80, False)] * 2, (3, 480, 112, True), (3, 672, 112, True)),
    ((5, 672, 160, True), *[(5, 960, 160, False), (5, 960, 160, True)] * 2),
)
FEATURES = 1280
SQUEEZING = Parts(attention=GHOSTNET_ATTENTION)


class GhostNet(Classifier):
    """3×3 stem, five stages of ghost bottlenecks, 1×1 expansion, pooling, a hidden 1×1 layer, linear head.

    Shapes as in ``Classifier``; ``feature_dim`` is 1280 at any width.

    Args:
        width: multiplies every channel count but the features', rounded to multiples of 4.
        stem_stride: 2; 1 for small images.
        strides: of the stages; for 32×32 images (1, 1, 2, 2, 2) leaves 4×4.
        num_classes: number of logits.
        dropout: of the features.
        ratio: s of the ghost modules.
        cheap_kernel_size: d of the ghost modules.
        parts: convolution, norm, activation, order; attention in the rows that have one.

    """

    def __init__(
        self,
        *,
        width: int | float = 1.0,
        stem_stride: int = 2,
        strides: Sequence[int] = (1, 2, 2, 2, 2),
        num_classes: int = 1000,
        dropout: float = 0.2,
        ratio: int = 2,
        cheap_kernel_size: int = 3,
        parts: Parts = SQUEEZING,
    ) -> None:
        scaled = partial(scaled_channels, width=width, divisor=4)
        channels = scaled(16)
        steps: OrderedDict[str, nn.Module] = OrderedDict(stem=parts.stem(3, channels, 3, stride=stem_stride))
        for index, (rows, stage_stride) in enumerate(zip(STAGES, strides, strict=True), start=1):
            blocks = []
            for position, (kernel_size, mid, outputs, attends) in enumerate(rows):
                blocks.append(
                    GhostBottleneck(
                        channels,
                        scaled(mid),
                        scaled(outputs),
                        kernel_size,
                        stage_stride if position == 0 else 1,
                        attention=parts.attention if attends else None,
                        ratio=ratio,
                        cheap_kernel_size=cheap_kernel_size,
                        parts=parts,
                    )
                )
                channels = scaled(outputs)
            steps[f"stage{index}"] = nn.Sequential(*blocks)
        steps.update(expanded_features(channels, scaled(STAGES[-1][-1][1]), FEATURES, parts))
        super().__init__(nn.Sequential(steps), FEATURES, num_classes=num_classes, dropout=dropout)
