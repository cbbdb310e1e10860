"""Base of the image classifiers: a trunk, a mean over positions, a linear head."""

from collections import OrderedDict
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from gconv_gan.layers.blocks.residual import BlockConstructor, stage
from gconv_gan.layers.dropout import Dropout


class Classifier(nn.Module):
    r"""An image classifier, from images to logits.

    .. math:: \ell(x) = W\, \mathrm{drop}\big(f(x)\big) + b, \qquad f(x) = \operatorname{mean}_{\text{positions}} T(x)

    Shapes: input [B, 3, H, W]; trunk T [B, d, H', W']; ``features`` [B, d]; output [B, num_classes]. H and W may be any size
    that the trunk can divide.

    Args:
        trunk: T.
        feature_dim: d.
        num_classes: number of logits.
        dropout: of the features, in training only.

    Attributes:
        image_size: side of the images the network is defined for (its table's), to which an evaluation resizes images.

    """

    image_size: int = 224

    def __init__(self, trunk: nn.Module, feature_dim: int, *, num_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.trunk, self.feature_dim, self.num_classes = trunk, feature_dim, num_classes
        self.dropout = Dropout(dropout)
        head = nn.Linear(feature_dim, num_classes)
        nn.init.zeros_(head.bias)
        self.head: nn.Module = head

    def features(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """Return the input of the head, without dropout: [B, feature_dim]."""
        features: Tensor = self.trunk(x).mean((2, 3))
        return features

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b k"]:
        logits: Tensor = self.head(self.dropout(self.features(x)))
        return logits


def stages(
    block: BlockConstructor, in_channels: int, widths: Sequence[int], depths: Sequence[int], strides: Sequence[int]
) -> "OrderedDict[str, nn.Module]":
    """Return ``stage1``, ``stage2``, …: stage i has ``depths[i]`` blocks of ``widths[i]`` output channels."""
    inputs = (in_channels, *widths[:-1])
    table = zip(inputs, widths, depths, strides, strict=True)
    return OrderedDict((f"stage{index}", stage(block, *row)) for index, row in enumerate(table, start=1))
