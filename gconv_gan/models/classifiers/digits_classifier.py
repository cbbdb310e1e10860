"""A small convolutional classifier of 8 to 16 pixel images: the quickstart's classifier of handwritten digits."""

from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn


class DigitsClassifier(nn.Module):
    """Four convolutions and a linear head for images of 8 to 16 px.

    Two convolutions at full resolution, two at half, a mean over positions. Group normalisation rather than
    BatchNorm: an image's features do not depend on its batch in either mode.

    Shapes: input [B, 3, s, s] in [-1, 1]; ``features`` [B, 4·width]; output, the logits, [B, num_classes].

    Args:
        num_classes: number of logits.
        image_size: s, even, 8 to 16.
        width: Channels of the first two convolutions, a multiple of 8; the last two have 2·width and 4·width.

    Raises:
        ValueError: for another image size or width.

    """

    def __init__(self, *, num_classes: int = 10, image_size: int = 8, width: PositiveInt = 32) -> None:
        super().__init__()
        if image_size % 2 or not 8 <= image_size <= 16:
            raise ValueError(f"image_size is an even number from 8 to 16, not {image_size}")
        if width % 8:
            raise ValueError(f"width is a multiple of 8, not {width}")
        self.image_size, self.num_classes, self.feature_dim = image_size, num_classes, 4 * width
        self.trunk = nn.Sequential(
            _stage(3, width), _stage(width, width), nn.AvgPool2d(2), _stage(width, 2 * width), _stage(2 * width, 4 * width)
        )
        self.head = nn.Linear(self.feature_dim, num_classes)

    def features(self, x: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b d"]:
        """Return the mean over positions of the last map, [B, 4·width]."""
        features: Tensor = self.trunk(x).mean((2, 3))
        return features

    def forward(self, x: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b k"]:
        logits: Tensor = self.head(self.features(x))
        return logits


def _stage(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False), nn.GroupNorm(8, out_channels), nn.ReLU())
