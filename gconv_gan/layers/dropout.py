"""Dropout whose masks are functions of a seed, the step, and the images' indices in the batch of all processes.

Srivastava et al., "Dropout", JMLR 15 (2014).
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int, Shaped
from torch import Tensor, nn

from gconv_gan.runtime.random import COIN_SIDES, Step, Stream, coin_threshold


@dataclass
class MaskPosition:
    """Step and image indices of a network's next forward pass, shared by all its dropout layers; the training loop sets them.

    A copy of a network shares them with the original, and so draws its masks.

    Attributes:
        step: of the streams; a number, or one for each image [B].
        indices: the indices [B] of the images of the pass in the batch of all processes, on the device of the network.

    """

    step: Step
    indices: Int[Tensor, " b"]

    def __deepcopy__(self, memo: dict[int, Any]) -> "MaskPosition":
        return self


class Dropout(nn.Dropout):
    r"""Zero each element with probability p in training, and scale the others by :math:`1 / (1 - p)`.

    Shapes: input and output [B, C, *]. Without ``seed_dropout`` it is ``nn.Dropout``, which draws from torch's global generator. With it
    the mask of an image is a function of (seed, name of the layer, step, index of the image), drawn on the image's device; p is then
    rounded to a multiple of 2⁻¹⁶.
    """

    stream: Stream | None = None
    position: MaskPosition | None = None

    def forward(self, x: Shaped[Tensor, "b c *places"]) -> Shaped[Tensor, "b c *places"]:
        if self.stream is None or self.position is None or not self.training or not 0 < self.p < 1:
            return super().forward(x)
        indices = self.position.indices
        if len(indices) != len(x):
            raise ValueError(f"dropout has the positions of {len(indices)} images but was given {len(x)}")
        channels, *places = x.shape[1:]
        # channels last, the layout of maps in training: a mask in another layout is slower to apply
        kept = self.stream.coins(self.position.step, indices, *places, channels, probability=1 - self.p).movedim(-1, 1)
        return x * kept * (COIN_SIDES / coin_threshold(1 - self.p))


def seed_dropout(network: nn.Module, seed: int, *, device: torch.device) -> MaskPosition:
    """Let every ``Dropout`` of ``network`` draw from a stream of ``seed`` named after it; return the shared position of the streams."""
    position = MaskPosition(0, torch.empty(0, dtype=torch.int64, device=device))
    for name, module in network.named_modules():
        if isinstance(module, Dropout):
            module.stream, module.position = Stream(seed, f"dropout/{name}"), position
    return position
