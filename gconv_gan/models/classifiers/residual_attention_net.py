"""Residual Attention Networks, for ImageNet and for small images.

Wang et al., "Residual Attention Network for Image Classification", CVPR 2017 (arXiv 1704.06904), table 2; ImageNet sizes equal
those of the published prototxt files. The paper gives no widths for small images: those here reproduce its parameter counts.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from torch import nn

from gconv_gan.layers.blocks.block_parts import STANDARD, Parts
from gconv_gan.layers.blocks.residual import BlockConstructor, preact_bottleneck
from gconv_gan.layers.blocks.residual_attention import Learning, Mask, ResidualAttention
from gconv_gan.models.classifiers.classifier import Classifier
from gconv_gan.models.classifiers.parts.stems import imagenet_stem
from gconv_gan.models.classifiers.resnet import StemConstructor


class AttentionStage(NamedTuple):
    """One unit that changes the shape, then attention modules, then plain units."""

    width: int
    stride: int
    modules: int
    mask_depth: int
    units: int


def imagenet_stages(modules: Sequence[int]) -> tuple[AttentionStage, ...]:
    """Return four stages whose masks reach 7×7 at 224×224, with these numbers of modules in the first three."""
    first, second, third = modules
    return (
        AttentionStage(256, 1, first, 3, 0),
        AttentionStage(512, 2, second, 2, 0),
        AttentionStage(1024, 2, third, 1, 0),
        AttentionStage(2048, 2, 0, 0, 2),
    )


def cifar_stages(modules: int, widths: Sequence[int] = (64, 128, 256)) -> tuple[AttentionStage, ...]:
    """Return three stages whose masks reach 4×4 at 32×32, with these numbers of modules."""
    table = zip(widths, (1, 2, 2), (3, 2, 1), strict=True)
    return tuple(AttentionStage(width, stride, modules, mask_depth, 1) for width, stride, mask_depth in table)


class ResidualAttentionNet(Classifier):
    """Stem, stages of residual units and attention modules, a last norm and activation, mean over positions, linear head.

    Shapes as in ``Classifier``; ``feature_dim`` is the last stage's width.

    Args:
        stages: see ``AttentionStage``.
        stem: ``stem(width, parts)``, see ``models/classifiers/parts/stems.py``.
        stem_width: its channels.
        pre_units: p of the attention modules.
        trunk_units: t.
        mask_units: r.
        bottom_units: units at the bottom of a mask; None: 2r.
        mask: "mixed", "channel" or "spatial".
        learning: "residual" (1 + M) or "naive" (M).
        block: the unit, ``block(in_channels, out_channels, *, stride, parts)``.
        preactivation: whether the units begin, and so masks' tails and the network end, with norm and activation.
        num_classes: number of logits.
        parts: convolution, norm, activation, attention, order.

    """

    def __init__(
        self,
        *,
        stages: Sequence[AttentionStage],
        stem: StemConstructor = imagenet_stem,
        stem_width: int = 64,
        pre_units: int = 1,
        trunk_units: int = 2,
        mask_units: int = 1,
        bottom_units: int | None = None,
        mask: Mask = "mixed",
        learning: Learning = "residual",
        block: BlockConstructor = preact_bottleneck,
        preactivation: bool = True,
        num_classes: int = 1000,
        parts: Parts = STANDARD,
    ) -> None:
        steps: OrderedDict[str, nn.Module] = OrderedDict(stem=stem(stem_width, parts))
        channels = stem_width
        for index, row in enumerate(stages, start=1):
            layers: list[nn.Module] = [block(channels, row.width, stride=row.stride, parts=parts)]
            channels = row.width
            for _ in range(row.modules):
                layers.append(
                    ResidualAttention(
                        channels,
                        depth=row.mask_depth,
                        pre_units=pre_units,
                        trunk_units=trunk_units,
                        mask_units=mask_units,
                        bottom_units=bottom_units,
                        mask=mask,
                        learning=learning,
                        block=block,
                        leading_preactivation=preactivation,
                        parts=parts,
                    )
                )
            layers += [block(channels, channels, stride=1, parts=parts) for _ in range(row.units)]
            steps[f"stage{index}"] = nn.Sequential(*layers)
        if preactivation:
            steps["preactivation"] = parts.preactivation(channels)
        elif parts.order == "whitened":
            steps["norm"] = parts.normalisation(channels)
        super().__init__(nn.Sequential(steps), channels, num_classes=num_classes)
