"""Post-activation residual networks: ResNet, ResNeXt, SENet, wide bottlenecks, and pre-activation ResNet.

He et al., CVPR 2016 (arXiv 1512.03385) and ECCV 2016 (arXiv 1603.05027); Xie et al., "Aggregated Residual Transformations",
CVPR 2017 (arXiv 1611.05431). Sizes were checked against torchvision and timm.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial

from torch import nn

from gconv_gan.layers.blocks.block_parts import STANDARD, Parts
from gconv_gan.layers.blocks.residual import BlockConstructor, basic_block, preact_basic_block
from gconv_gan.models.classifiers.classifier import Classifier, stages
from gconv_gan.models.classifiers.parts.stems import bare_cifar_stem, imagenet_stem

StemConstructor = Callable[[int, Parts], nn.Module]
"""``stem(width, parts)``, see ``models/classifiers/parts/stems.py``."""


class ResNet(Classifier):
    """Stem, stages of post-activation residual blocks, mean over positions, linear head.

    In the whitened order (see ``Parts``) no norm ends the last branch, so one is added: on the last map, or after pooling it
    with ``norm_after_pooling`` (the ImageNet form of the whitening unit's paper).

    Shapes as in ``Classifier``; ``feature_dim`` is ``widths[-1]``.

    Args:
        depths: blocks per stage.
        widths: output channels per stage.
        block: ``block(in_channels, out_channels, *, stride, parts)``, such as ``basic_block`` or a ``bottleneck``.
        stem: ``stem(width, parts)``, see ``models/classifiers/parts/stems.py``.
        stem_width: its channels.
        strides: of each stage's first block.
        num_classes: number of logits.
        dropout: of the features.
        norm_after_pooling: where the whitened order's last norm stands.
        parts: convolution, norm, activation, attention, order.

    """

    def __init__(
        self,
        *,
        depths: Sequence[int],
        widths: Sequence[int] = (64, 128, 256, 512),
        block: BlockConstructor = basic_block,
        stem: StemConstructor = imagenet_stem,
        stem_width: int = 64,
        strides: Sequence[int] = (1, 2, 2, 2),
        num_classes: int = 1000,
        dropout: float = 0.0,
        norm_after_pooling: bool = False,
        parts: Parts = STANDARD,
    ) -> None:
        steps: OrderedDict[str, nn.Module] = OrderedDict(stem=stem(stem_width, parts))
        steps.update(stages(partial(block, parts=parts), stem_width, widths, depths, strides))
        if parts.order == "whitened":
            if norm_after_pooling:
                steps["pool"] = nn.AdaptiveAvgPool2d(1)
            steps["norm"] = parts.normalisation(widths[-1])
        super().__init__(nn.Sequential(steps), widths[-1], num_classes=num_classes, dropout=dropout)


class PreactResNet(Classifier):
    """Bare stem, stages of pre-activation residual blocks, a last norm and activation, mean over positions, linear head.

    Shapes as in ``Classifier``; ``feature_dim`` is ``widths[-1]``.

    Args:
        depths: blocks per stage.
        widths: output channels per stage.
        block: ``block(in_channels, out_channels, *, stride, parts)``, a pre-activation block.
        stem: ``stem(width, parts)``, see ``models/classifiers/parts/stems.py``.
        stem_width: its channels.
        strides: of each stage's first block.
        num_classes: number of logits.
        parts: convolution, norm, activation, attention, order.

    """

    def __init__(
        self,
        *,
        depths: Sequence[int],
        widths: Sequence[int] = (64, 128, 256, 512),
        block: BlockConstructor = preact_basic_block,
        stem: StemConstructor = bare_cifar_stem,
        stem_width: int = 64,
        strides: Sequence[int] = (1, 2, 2, 2),
        num_classes: int = 10,
        parts: Parts = STANDARD,
    ) -> None:
        steps: OrderedDict[str, nn.Module] = OrderedDict(stem=stem(stem_width, parts))
        steps.update(stages(partial(block, parts=parts), stem_width, widths, depths, strides))
        steps["preactivation"] = parts.preactivation(widths[-1])
        super().__init__(nn.Sequential(steps), widths[-1], num_classes=num_classes)
