"""From a generator's floats to the bytes that are scored and saved: the same rule in memory and on disk."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

QUANTISATION = "trunc(clip(127.5 x + 128, 0, 255))"


def quantise(images: Float[Tensor, "b 3 h w"]) -> UInt8[Tensor, "b 3 h w"]:
    """Return bytes, rounding half up: trunc(clip(127.5 x + 128, 0, 255)), so -1, 0, 1 become 0, 128, 255."""
    return (127.5 * images.float() + 128).clamp(0, 255).to(torch.uint8)
