"""Quantities over the batch size, both axes logarithmic."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from gconv_gan.gallery.page.theme import Theme
from gconv_gan.gallery.pictures.figure import FONT_SIZE, add_axes, figure_png, new_figure

HEIGHT = 2.8  # inches
COLOURS = 64


def plot_by_batch(curves: Mapping[str, Mapping[int, Sequence[float]]], *, title: str, theme: Theme) -> bytes:
    """Return a plot as a PNG: the median over seeds of each quantity as a line, each seed as a dot."""
    figure = new_figure(theme, height=HEIGHT)
    axes = add_axes(figure, theme, left=0.6, right=0.14, bottom=0.48, top=0.62)
    axes.grid(color=theme.rule, linewidth=0.6)
    for colour, (name, values) in zip(theme.series, curves.items(), strict=False):
        axes.plot(list(values), [float(np.median(each)) for each in values.values()], color=colour, linewidth=1.6, label=name)
        for size, each in values.items():
            axes.plot([size] * len(each), each, color=colour, linestyle="", marker="o", markersize=2.5, alpha=0.7)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(sorted({size for values in curves.values() for size in values}))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("batch size")
    width, height = figure.get_size_inches()
    figure.text(0.15 / width, 1 - 0.16 / height, title, fontsize=FONT_SIZE, color=theme.ink, va="center")
    axes.legend(loc="lower left", bbox_to_anchor=(0.02, 1), ncols=2, frameon=False, fontsize=FONT_SIZE, labelcolor=theme.ink)
    return figure_png(figure, colours=COLOURS)
