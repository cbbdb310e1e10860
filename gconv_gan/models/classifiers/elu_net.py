"""The plain convolutional networks with exponential linear units and no normalisation.

Clevert, Unterthiner, Hochreiter, "Fast and Accurate Deep Network Learning by Exponential Linear Units", ICLR 2016 (arXiv
1511.07289), section 4; the stacks are those of third-party definitions (harvard-acc/smaug).
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from torch import nn

from gconv_gan.layers.blocks.block_parts import Parts
from gconv_gan.layers.dropout import Dropout
from gconv_gan.models.classifiers.classifier import Classifier


class Layers(NamedTuple):
    """``repeats`` convolutions of ``width`` channels and ``kernel_size``."""

    repeats: int
    width: int
    kernel_size: int


Stacks = tuple[tuple[Layers, ...], ...]

ELU_18: Stacks = (
    (Layers(1, 384, 3),),
    (Layers(1, 384, 1), Layers(1, 384, 2), Layers(2, 640, 2)),
    (Layers(1, 640, 1), Layers(3, 768, 2)),
    (Layers(1, 768, 1), Layers(2, 896, 2)),
    (Layers(1, 896, 3), Layers(2, 1024, 2)),
    (Layers(1, 1024, 1), Layers(1, 1152, 2)),
    (Layers(1, 1152, 1),),
)
ELU_11: Stacks = (
    (Layers(1, 192, 5),),
    (Layers(1, 192, 1), Layers(1, 240, 3)),
    (Layers(1, 240, 1), Layers(1, 260, 2)),
    (Layers(1, 260, 1), Layers(1, 280, 2)),
    (Layers(1, 280, 1), Layers(1, 300, 2)),
    (Layers(1, 300, 1),),
)
POOLED_STACKS = 5
ELU = Parts(norm=None, activation=nn.ELU, fan="fan_in")


class ELUNet(Classifier):
    """Stacks of convolutions, 2×2 max pooling after each of the first five, and a 1×1 convolution as classifier.

    Shapes as in ``Classifier``, H and W at least 32. Convolutions keep the size; 2×2 kernels pad at the right and the bottom. The
    classifier is the last convolution of the paper's tables; it sees the mean over positions, of which there is one at 32×32.

    Args:
        stacks: ``ELU_18`` or ``ELU_11``.
        width: multiplies every channel count.
        num_classes: number of logits.
        dropouts: at the end of each stack (the paper: 0, 0.1, 0.2, 0.3, 0.4, 0.5); empty: none.
        parts: convolution, norm, activation, order; attention at the end of each stack.

    """

    def __init__(
        self,
        *,
        stacks: Stacks = ELU_18,
        width: int | float = 1.0,
        num_classes: int = 10,
        dropouts: Sequence[float] = (),
        parts: Parts = ELU,
    ) -> None:
        steps: OrderedDict[str, nn.Module] = OrderedDict()
        channels = 3
        for index, stack in enumerate(stacks, start=1):
            units: OrderedDict[str, nn.Module] = OrderedDict()
            for layers in stack:
                for _ in range(layers.repeats):
                    unit = parts.unit if steps or units else parts.stem
                    outputs = max(int(layers.width * width), 1)
                    units[f"unit{len(units) + 1}"] = unit(channels, outputs, layers.kernel_size)
                    channels = outputs
            units.update(parts.attentions(channels))
            steps[f"stack{index}"] = nn.Sequential(units)
            if index <= POOLED_STACKS:
                steps[f"pool{index}"] = nn.MaxPool2d(2)
            if dropouts:
                steps[f"dropout{index}"] = Dropout(dropouts[index - 1])
        if parts.order == "whitened":
            steps["norm"] = parts.normalisation(channels)
        super().__init__(nn.Sequential(steps), channels, num_classes=num_classes)
        classifier = parts.convolution(channels, num_classes, 1, bias=True)
        self.head = nn.Sequential(OrderedDict(map=nn.Unflatten(1, (-1, 1, 1)), conv=classifier, flatten=nn.Flatten()))
