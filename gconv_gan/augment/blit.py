"""Moves of whole pixels: every row and column of the result is a row and column of the image, or 0. They are exact.

Gathering has derivatives of every order, which penalties of the discriminator's gradient need.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Indices = Int[Tensor, "b s"]


def blit(
    images: Float[Tensor, "b c h w"],
    rows: Indices,
    columns: Indices,
    transpose: Bool[Tensor, " b"] | None = None,
) -> Float[Tensor, "b c h w"]:
    """Return images whose pixel (i, j) is pixel (rows[b, i], columns[b, j]) of image b, transposed first where ``transpose`` is true.

    Indices outside an image give 0. ``transpose`` needs square images.
    """
    b, c, h, w = images.shape
    if transpose is not None:
        images = torch.where(transpose[:, None, None, None], images.transpose(2, 3), images)
    inside = ((rows >= 0) & (rows < h))[:, None, :, None] & ((columns >= 0) & (columns < w))[:, None, None, :]
    gathered = images.gather(2, rows.clamp(0, h - 1)[:, None, :, None].expand(b, c, h, w))
    gathered = gathered.gather(3, columns.clamp(0, w - 1)[:, None, None, :].expand(b, c, h, w))
    return gathered * inside


def shifted(size: int, offsets: Int[Tensor, " b"]) -> Indices:
    """Return the indices [B, size] of a shift by ``offsets`` pixels towards the end; indices outside the image stay outside."""
    return torch.arange(size, device=offsets.device) - offsets[:, None]


def mirrored(indices: Indices, size: int, coins: Bool[Tensor, " b"]) -> Indices:
    """Return ``indices`` into an image that is mirrored first where the boolean is true."""
    return torch.where(coins[:, None], size - 1 - indices, indices)
