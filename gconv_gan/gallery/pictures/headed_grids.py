"""Grids of several generators side by side in one picture, each below a heading, for places that show pictures but no pages."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from gconv_gan.gallery.page.theme import LIGHT
from gconv_gan.gallery.pictures.grid import Images, png_bytes, tile

MARGIN = 24  # px around the grids and between them
TITLE, WORDS = 25, 16  # px, sizes of the two lines of a heading
HEADING = 78  # px above a grid
FONT = font_manager.findfont("DejaVu Sans")  # a part of matplotlib; the font of Pillow knows ASCII only


@dataclass(frozen=True)
class HeadedGrid:
    """A grid of the picture: its heading in two lines, and the images."""

    title: str
    words: str
    images: Images


def headed_grids(grids: Sequence[HeadedGrid], *, columns: int) -> bytes:
    """Return the picture as a PNG on a light ground.

    Args:
        grids: from left to right; a heading that is wider than its grid is cut.
        columns: images in a row of each grid.

    """
    tiles = [tile(grid.images, columns=columns) for grid in grids]
    width = MARGIN + sum(one.shape[1] + MARGIN for one in tiles)
    height = HEADING + max(one.shape[0] for one in tiles) + MARGIN
    picture = Image.new("RGB", (width, height), LIGHT.card)
    left = MARGIN
    for grid, pixels in zip(grids, tiles, strict=True):
        picture.paste(_heading(grid, pixels.shape[1]), (left, 0))
        of = Image.fromarray(pixels)
        picture.paste(of, (left, HEADING), of)
        left += pixels.shape[1] + MARGIN
    return png_bytes(np.asarray(picture))


def _heading(grid: HeadedGrid, width: int) -> Image.Image:
    strip = Image.new("RGB", (width, HEADING), LIGHT.card)
    draw = ImageDraw.Draw(strip)
    for top, text, colour, size in ((10, grid.title, LIGHT.ink, TITLE), (46, grid.words, LIGHT.muted, WORDS)):
        draw.text((0, top), text, fill=colour, font=ImageFont.truetype(FONT, size))
    return strip
