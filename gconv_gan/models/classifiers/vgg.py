"""VGG with normalisation, for small images and for ImageNet.

Simonyan and Zisserman, "Very Deep Convolutional Networks", ICLR 2015 (arXiv 1409.1556), table 1. The small-image form with one
hidden layer is the baseline of the GhostNet paper. torchvision's ``vgg*_bn`` has biases before its norms, which the norms remove;
here there are none.
"""

from collections import OrderedDict
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from gconv_gan.layers.blocks.block_parts import STANDARD, Parts
from gconv_gan.layers.dropout import Dropout
from gconv_gan.models.classifiers.classifier import Classifier

VGG_WIDTHS = (64, 128, 256, 512, 512)
VGG_DEPTHS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


class VGG(Classifier):
    """Stacks of 3×3 units, each followed by 2×2 max pooling; hidden linear layers; a linear head.

    Shapes: input [B, 3, H, W], H and W at least 32; ``features``, the last hidden layer, [B, d]; output [B, num_classes]. In the
    whitened order a norm follows the last stack.

    Args:
        depths: units per stack.
        widths: channels per stack.
        hidden: sizes of the hidden layers.
        pool_size: side of the averaged map, the input of the hidden layers.
        num_classes: number of logits.
        dropout: after each hidden layer (ImageNet: 0.5).
        parts: convolution, norm, activation, order; attention at the end of each stack.

    """

    def __init__(
        self,
        *,
        depths: Sequence[int],
        widths: Sequence[int] = VGG_WIDTHS,
        hidden: Sequence[int] = (512,),
        pool_size: int = 1,
        num_classes: int = 10,
        dropout: float = 0.0,
        parts: Parts = STANDARD,
    ) -> None:
        steps: OrderedDict[str, nn.Module] = OrderedDict()
        channels = 3
        for index, (width, depth) in enumerate(zip(widths, depths, strict=True), start=1):
            first = parts.stem(channels, width, 3) if index == 1 else parts.unit(channels, width, 3)
            units: OrderedDict[str, nn.Module] = OrderedDict(unit1=first)
            units.update((f"unit{n}", parts.unit(width, width, 3)) for n in range(2, depth + 1))
            units.update(parts.attentions(width))
            steps[f"stack{index}"] = nn.Sequential(units)
            steps[f"pool{index}"] = nn.MaxPool2d(2)
            channels = width
        if parts.order == "whitened":
            steps["norm"] = parts.normalisation(channels)
        steps["pool"] = nn.AdaptiveAvgPool2d(pool_size)
        inputs = channels * pool_size**2
        super().__init__(nn.Sequential(steps), hidden[-1] if hidden else inputs, num_classes=num_classes, dropout=dropout)
        layers: list[nn.Module] = []
        for size in hidden:
            layers += [nn.Linear(inputs, size), parts.activation(), Dropout(dropout)]
            inputs = size
        self.hidden = nn.Sequential(*layers[:-1])  # the last dropout is the head's

    def features(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        features: Tensor = self.hidden(self.trunk(x).flatten(1))
        return features
