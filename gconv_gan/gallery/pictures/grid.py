"""Many small images as one PNG: tiles row by row, transparent gutters, whole-number enlargement.

The bytes depend on the pixels alone (no time stamp, no software tag), so equal pictures are equal files and a hash identifies them.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from gconv_gan.config.errors import UserError
from gconv_gan.data.reading.transforms import quantise
from gconv_gan.runtime.files.atomic import write_bytes

TILE_SIDE = 64  # px: images smaller than this are enlarged towards it, so that 8 x 8 digits can be seen
PADDING = 2  # px of gutter between tiles, in the enlarged picture
GROUP_PADDING = 16  # px of gutter between two groups of columns

Images = Float[Tensor, "n 3 h w"] | UInt8[Tensor, "n 3 h w"]


def as_bytes(images: Images) -> UInt8[Tensor, "n 3 h w"]:
    """Return the images quantised as for scores.

    Args:
        images: floats in [-1, 1] (values outside are clipped), or bytes, which are returned as they are.

    Raises:
        ValueError: if a value is not a number.

    """
    if images.dtype == torch.uint8:
        return images
    if images.isnan().any():
        raise ValueError(f"images of shape {tuple(images.shape)} hold values that are not numbers; a picture of them would be meaningless")
    return quantise(images.detach())


def natural_scale(height: int, width: int) -> int:
    """Return the largest whole enlargement whose longer side stays within ``TILE_SIDE``, at least 1: 8 px -> 8, 32 px -> 2, 64 px -> 1."""
    return max(1, TILE_SIDE // max(height, width))


def left_edges(groups: Sequence[int], step: int) -> list[int]:
    """Return the left edge in pixels of each column of groups of columns, whose tiles with their gutter are ``step`` px wide."""
    group_of = [index for index, columns in enumerate(groups) for _ in range(columns)]
    return [step * column + (GROUP_PADDING - PADDING) * group for column, group in enumerate(group_of)]


def tile(
    images: Images, *, columns: int, scale: int | None = None, padding: int = PADDING, groups: Sequence[int] = ()
) -> UInt8[np.ndarray, "rows columns 4"]:
    """Return the images row by row, ``columns`` to a row, each pixel enlarged to scale x scale; gutters and empty cells are transparent.

    Args:
        images: floats in [-1, 1] or bytes.
        columns: images in a row; the last row may be shorter.
        scale: whole-number enlargement; None means ``natural_scale``.
        padding: gutter in pixels between tiles; there is none around the outside.
        groups: number of columns of each group, separated by a wider gutter; none: one group.

    Raises:
        ValueError: if there is no image, or columns or scale is below 1, or padding is negative, or the groups are not the columns.

    """
    count, _, height, width = images.shape
    scale = natural_scale(height, width) if scale is None else scale
    if count < 1 or columns < 1 or scale < 1 or padding < 0:
        raise ValueError(
            f"a grid of {count} images needs at least one image, columns >= 1 (got {columns}), scale >= 1 ({scale}), padding >= 0"
        )
    columns = min(columns, count)
    rows = -(-count // columns)
    if groups and sum(groups) != columns:
        raise ValueError(f"groups of {tuple(groups)} columns are not the {columns} columns of the grid")
    step_y, step_x = height * scale + padding, width * scale + padding
    edges = left_edges(groups or (columns,), step_x)
    canvas = np.full((rows * step_y - padding, edges[-1] + width * scale, 4), (255, 255, 255, 0), dtype=np.uint8)
    pixels = rearrange(as_bytes(images), "n c h w -> n h w c").cpu().numpy()
    for index, image in enumerate(pixels):
        top, left = index // columns * step_y, edges[index % columns]
        cell = canvas[top : top + height * scale, left : left + width * scale]
        cell[..., :3] = image.repeat(scale, axis=0).repeat(scale, axis=1)
        cell[..., 3] = 255
    return canvas


def read_tiles(path: Path, *, side: int) -> UInt8[Tensor, "n 3 h w"]:
    """Return the images of a grid that ``save_grid`` wrote with its natural scale: the inverse of ``tile``; empty cells are left out.

    Args:
        path: the PNG grid.
        side: height and width of one image in pixels.

    Raises:
        UserError: if the picture's size does not fit tiles of this side.

    """
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGBA"))
    scale = natural_scale(side, side)
    step = side * scale + PADDING
    height, width = pixels.shape[:2]
    if (height + PADDING) % step or (width + PADDING) % step:
        raise UserError(f"{path} is {width} x {height} px: not a grid of {side} px images enlarged {scale} times, gutters {PADDING} px")
    corners = [(top, left) for top in range(0, height, step) for left in range(0, width, step)]
    cells = [pixels[top : top + side * scale : scale, left : left + side * scale : scale] for top, left in corners]
    images = np.stack([cell[..., :3] for cell in cells if cell[..., 3].all()])
    return rearrange(torch.from_numpy(images), "n h w c -> n c h w").contiguous()


def png_bytes(pixels: UInt8[np.ndarray, "height width channels"]) -> bytes:
    """Return RGB or RGBA pixels as a PNG without metadata."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()


def grid_png(images: Images, *, columns: int, scale: int | None = None, groups: Sequence[int] = ()) -> bytes:
    """Return the PNG file of ``tile(images)``; arguments and errors are those of ``tile``."""
    return png_bytes(tile(images, columns=columns, scale=scale, groups=groups))


def save_grid(images: Images, path: Path, *, columns: int, scale: int | None = None) -> None:
    """Write images as one PNG grid at ``path``, atomically; parents are created. Arguments and errors are those of ``tile``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, grid_png(images, columns=columns, scale=scale))
