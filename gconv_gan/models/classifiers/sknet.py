"""SKNet: residual networks whose middle convolution is a selective kernel.

Li, Wang, Hu, Yang, "Selective Kernel Networks", CVPR 2019 (arXiv 1903.06586), table 1. The 50-layer form equals timm's
``skresnext50_32x4d``. The published code's 101-layer form has a narrower z in one stage than the paper's formula; this
implementation follows the formula. The small-image form is not published; G = 32 is closest to the size in the paper.
"""

from collections.abc import Sequence
from functools import partial

from gconv_gan.layers.blocks.block_parts import STANDARD, Parts
from gconv_gan.layers.blocks.residual import bottleneck
from gconv_gan.layers.blocks.selective_kernel import SelectiveKernel2d
from gconv_gan.models.classifiers.parts.stems import imagenet_stem
from gconv_gan.models.classifiers.resnet import ResNet, StemConstructor


class SKNet(ResNet):
    """A ``ResNet`` of bottlenecks 1×1, SK[M, G, r], 1×1.

    Args:
        depths: blocks per stage.
        widths: output channels per stage.
        width_ratio: channels of the selective kernel, divided by the block's.
        groups: G.
        branches: M.
        reduction: r.
        min_reduced_channels: L.
        stem: ``stem(width, parts)``, see ``models/classifiers/parts/stems.py``.
        strides: of each stage's first block.
        num_classes: number of logits.
        norm_after_pooling: see ``ResNet``.
        parts: convolution, norm, activation, attention, order.

    """

    def __init__(
        self,
        *,
        depths: Sequence[int],
        widths: Sequence[int] = (256, 512, 1024, 2048),
        width_ratio: float = 0.5,
        groups: int = 32,
        branches: int = 2,
        reduction: int = 16,
        min_reduced_channels: int = 32,
        stem: StemConstructor = imagenet_stem,
        strides: Sequence[int] = (1, 2, 2, 2),
        num_classes: int = 1000,
        norm_after_pooling: bool = True,
        parts: Parts = STANDARD,
    ) -> None:
        middle = partial(SelectiveKernel2d, branches=branches, reduction=reduction, min_reduced_channels=min_reduced_channels)
        super().__init__(
            depths=depths,
            widths=widths,
            block=partial(bottleneck, width_ratio=width_ratio, groups=groups, middle=middle),
            stem=stem,
            strides=strides,
            num_classes=num_classes,
            norm_after_pooling=norm_after_pooling,
            parts=parts,
        )
