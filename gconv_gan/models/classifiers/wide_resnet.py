"""Wide residual networks for small images.

Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016 (arXiv 1605.07146), table 1; facts from
szagoruyko/wide-residual-networks. The ImageNet form, WRN-50-2, is a post-activation ``ResNet`` of twice the inner width.
"""

from functools import partial

from gconv_gan.layers.blocks.block_parts import Parts
from gconv_gan.layers.blocks.residual import preact_basic_block
from gconv_gan.models.classifiers.resnet import PreactResNet

CIFAR_WIDTHS = (16, 32, 64)
FAN_IN = Parts(fan="fan_in")  # the official initialisation


class WideResNet(PreactResNet):
    """WRN-d-k: 3×3 convolution to 16 channels, three groups of (d−4)/6 blocks B(3,3) of 16k, 32k, 64k channels.

    Shapes as in ``Classifier``; at 32×32 the groups work at 32, 16 and 8 pixels. ``feature_dim`` is 64k.

    Args:
        depth: d = 6n+4.
        width: k; may be a fraction.
        num_classes: number of logits.
        dropout: between the two convolutions of every block (the paper: 0.3 on CIFAR, 0.4 on SVHN).
        parts: convolution, norm, activation, attention, order.

    Raises:
        ValueError: for a depth that is not 6n+4.

    """

    def __init__(self, *, depth: int, width: int | float, num_classes: int = 10, dropout: float = 0.0, parts: Parts = FAN_IN) -> None:
        blocks, rest = divmod(depth - 4, 6)
        if rest or blocks < 1:
            raise ValueError(f"the depth of a wide residual network is 6n+4 (10, 16, 22, …), not {depth}")
        super().__init__(
            depths=(blocks,) * 3,
            widths=tuple(int(channels * width) for channels in CIFAR_WIDTHS),
            block=partial(preact_basic_block, dropout=dropout),
            stem_width=CIFAR_WIDTHS[0],
            strides=(1, 2, 2),
            num_classes=num_classes,
            parts=parts,
        )
