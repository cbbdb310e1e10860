"""A plain stack of narrow 3×3 convolutions without shortcuts, whose initial scale can be set: what initialisation is tried on."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import nn

from gconv_gan.layers.blocks.block_parts import Parts
from gconv_gan.models.classifiers.classifier import Classifier

PLAIN = Parts(norm=None, fan="fan_in")


class PlainNet(Classifier):
    r"""Units of a 3×3 convolution and an activation, 2×2 max pooling after some, a mean over positions, a linear head.

    Without norms the size of activations and gradients grows as :math:`g^\text{depth}` with the gain g of the convolutions. Shapes as in
    ``Classifier``, H and W at least 2 to the number of poolings.

    Args:
        depth: number of convolutions.
        width: channels of each.
        pools: numbers of the convolutions, from 1, that pooling follows.
        gain: g, the factor on the initial weights of all convolutions (He's, of fan in).
        num_classes: number of logits.
        dropout: of the features.
        parts: convolution, norm (the network's own: none), activation, order; attention before the head.

    Raises:
        ValueError: there is no convolution of a number in ``pools``.

    """

    def __init__(
        self,
        *,
        depth: int = 10,
        width: int = 16,
        pools: Sequence[int] = (4, 7),
        gain: float = 1.0,
        num_classes: int = 10,
        dropout: float = 0.0,
        parts: Parts = PLAIN,
    ) -> None:
        if not set(pools) <= set(range(1, depth + 1)):
            raise ValueError(f"pools {list(pools)} are numbers of convolutions, which go from 1 to {depth}")
        steps: OrderedDict[str, nn.Module] = OrderedDict(unit1=parts.stem(3, width, 3))
        for index in range(2, depth + 1):
            if index - 1 in pools:
                steps[f"pool{index - 1}"] = nn.MaxPool2d(2)
            steps[f"unit{index}"] = parts.unit(width, width, 3)
        if depth in pools:
            steps[f"pool{depth}"] = nn.MaxPool2d(2)
        steps.update(parts.attentions(width))
        if parts.order == "whitened":
            steps["norm"] = parts.normalisation(width)
        super().__init__(nn.Sequential(steps), width, num_classes=num_classes, dropout=dropout)
        with torch.no_grad():
            for layer in self.trunk.modules():
                if isinstance(layer, nn.Conv2d):
                    layer.weight.mul_(gain)
