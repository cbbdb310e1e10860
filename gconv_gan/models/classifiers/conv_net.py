"""ConvNet: a few 3×3 units without shortcuts, the small network of the scale-invariance literature.

Kodryan, Lobacheva, Nakhodnov, Vetrov, NeurIPS 2022, arXiv 2209.03695 (depth 3, width 32: 32, 64, 128, 256 channels); the wiring is that of
the five-layer network of Nakkiran et al., arXiv 1912.02292.
"""

from collections import OrderedDict
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from gconv_gan.layers.blocks.block_parts import STANDARD, Parts
from gconv_gan.models.classifiers.classifier import Classifier


class ConvNet(Classifier):
    """Units of convolution, norm and activation, each but the first followed by 2×2 max pooling; a last max pooling; a linear head.

    Shapes: input [B, 3, H, W], H and W at least 2^(units - 1); ``features`` [B, widths[-1] · pool_size²]; output [B, num_classes].

    Args:
        widths: channels of each unit.
        pool_size: side of the last, max-pooled map (the paper's: 1); the side of the last unit's map: every position is a feature.
        num_classes: number of logits.
        dropout: of the features.
        parts: convolution, norm, activation, order; attention at the end.

    """

    def __init__(
        self,
        *,
        widths: Sequence[int] = (32, 64, 128, 256),
        pool_size: int = 1,
        num_classes: int = 10,
        dropout: float = 0.0,
        parts: Parts = STANDARD,
    ) -> None:
        steps: OrderedDict[str, nn.Module] = OrderedDict(unit1=parts.stem(3, widths[0], 3))
        for index, (inputs, width) in enumerate(zip(widths, widths[1:], strict=False), start=2):
            steps[f"unit{index}"] = parts.unit(inputs, width, 3)
            steps[f"pool{index}"] = nn.MaxPool2d(2)
        steps.update(parts.attentions(widths[-1]))
        if parts.order == "whitened":
            steps["norm"] = parts.normalisation(widths[-1])
        steps["pool"] = nn.AdaptiveMaxPool2d(pool_size)
        super().__init__(nn.Sequential(steps), widths[-1] * pool_size**2, num_classes=num_classes, dropout=dropout)

    def features(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        features: Tensor = self.trunk(x).flatten(1)
        return features
