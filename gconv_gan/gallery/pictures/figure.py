"""Matplotlib without its global state: axes on a theme's card, and their PNG with few colours and no metadata.

Sizes are in inches. The page shows 100 CSS px to the inch, so that the text stays readable at the width of a phone. Margins are
arguments: matplotlib's layout engines take longer than the drawing.
"""

import io

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from gconv_gan.gallery.page.theme import Theme

WIDTH = 4.2
DPI = 200  # two pixels to a CSS px, for sharp lines on dense screens
FONT_SIZE = 8.5  # points
CHARACTER = 0.077  # the width of a digit at that size


def new_figure(theme: Theme, *, height: float, width: float = WIDTH) -> Figure:
    """Return an empty figure of ``width`` x ``height`` in the theme's card colour."""
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor=theme.card)
    FigureCanvasAgg(figure)
    return figure


def add_axes(figure: Figure, theme: Theme, *, left: float, right: float, bottom: float, top: float) -> Axes:
    """Return themed axes (no box, quiet ticks, readable labels) with these margins to the figure's edges."""
    width, height = figure.get_size_inches()
    axes = figure.add_axes((left / width, bottom / height, (width - left - right) / width, (height - bottom - top) / height))
    axes.set_facecolor(theme.card)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(colors=theme.muted, labelsize=FONT_SIZE, length=0)
    axes.xaxis.label.set(color=theme.muted, fontsize=FONT_SIZE)
    return axes


def figure_png(figure: Figure, *, colours: int = 256) -> bytes:
    """Return a figure as a PNG with a palette of at most ``colours``; equal figures give equal bytes."""
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]  # type: ignore[no-untyped-call]
    buffer = io.BytesIO()
    Image.fromarray(pixels).quantize(colours, dither=Image.Dither.NONE).save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()
