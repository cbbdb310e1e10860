"""Conversion between stored pixels (uint8, 0 … 255) and network values (float, [-1, 1]), and mirroring."""

import torch
from jaxtyping import Bool, Float32, Shaped, UInt8
from torch import Tensor

QUANTISATION = "trunc(clip(127.5 x + 128, 0, 255))"  # text of score cards on quantise


def to_unit(images: UInt8[Tensor, "b c h w"]) -> Float32[Tensor, "b c h w"]:
    """Return x / 127.5 - 1 in float32: the same bits on every device."""
    half = torch.full((), 127.5, device=images.device)  # CUDA multiplies by the reciprocal of a Python number
    return images.float().div_(half).sub_(1)


def quantise(images: Shaped[Tensor, "b c h w"]) -> UInt8[Tensor, "b c h w"]:
    """Return round(127.5·(x + 1)), half up, clipped: trunc(clip(127.5·x + 128, 0, 255)), computed in float32 or better.

    The inverse of ``to_unit`` on stored images.
    """
    wide = images.to(torch.promote_types(images.dtype, torch.float32))
    return (127.5 * wide + 128).clamp_(0, 255).to(torch.uint8)


def flip(images: Shaped[Tensor, "b c h w"], coins: Bool[Tensor, " b"]) -> Shaped[Tensor, "b c h w"]:
    """Return ``images``, mirrored left to right where the boolean is true."""
    return torch.where(coins[:, None, None, None], images.flip(-1), images)
