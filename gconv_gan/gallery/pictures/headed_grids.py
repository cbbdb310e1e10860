"""Grids of several generators side by side in one picture, each below a heading, for places that show pictures but no pages."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from gconv_gan.gallery.page.theme import LIGHT
from gconv_gan.gallery.pictures.grid import png_bytes

MARGIN = 24  # px around the grids and between them
TITLE, WORDS = 25, 16  # px, sizes of the two lines of a heading
HEADING = 78  # px above a grid
FONT = font_manager.findfont("DejaVu Sans")  # a part of matplotlib; the font of Pillow knows ASCII only


@dataclass(frozen=True)
class HeadedGrid:
    """A grid of the picture: its heading in two lines, and its PNG."""

    title: str
    words: str
    content: bytes


def headed_grids(grids: Sequence[HeadedGrid]) -> bytes:
    """Return the grids from left to right, their pixels unchanged, as a PNG on a light ground; a heading wider than its grid is cut."""
    pictures = [Image.open(io.BytesIO(grid.content)).convert("RGBA") for grid in grids]
    width = MARGIN + sum(one.width + MARGIN for one in pictures)
    whole = Image.new("RGB", (width, HEADING + max(one.height for one in pictures) + MARGIN), LIGHT.card)
    left = MARGIN
    for grid, picture in zip(grids, pictures, strict=True):
        whole.paste(_heading(grid, picture.width), (left, 0))
        whole.paste(picture, (left, HEADING), picture)
        left += picture.width + MARGIN
    return png_bytes(np.asarray(whole))


def _heading(grid: HeadedGrid, width: int) -> Image.Image:
    strip = Image.new("RGB", (width, HEADING), LIGHT.card)
    draw = ImageDraw.Draw(strip)
    for top, text, colour, size in ((10, grid.title, LIGHT.ink, TITLE), (46, grid.words, LIGHT.muted, WORDS)):
        draw.text((0, top), text, fill=colour, font=ImageFont.truetype(FONT, size))
    return strip
