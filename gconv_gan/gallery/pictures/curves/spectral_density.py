"""The density of a matrix's eigenvalues, on a logarithmic axis: most of them lie in one peak, the few that matter far from it."""

import numpy as np
from jaxtyping import Float64
from matplotlib.ticker import NullLocator

from gconv_gan.gallery.page.theme import Theme
from gconv_gan.gallery.pictures.figure import FONT_SIZE, add_axes, figure_png, new_figure

HEIGHT = 2.8  # inches
COLOURS = 48
DECADES = 7


def plot_density(
    grid: Float64[np.ndarray, " g"], density: Float64[np.ndarray, " g"], *, marks: dict[str, float], title: str, theme: Theme
) -> bytes:
    """Return a plot as a PNG: a density over the eigenvalues, with vertical lines at ``marks``."""
    figure = new_figure(theme, height=HEIGHT)
    axes = add_axes(figure, theme, left=0.6, right=0.14, bottom=0.48, top=0.62)
    axes.grid(axis="y", color=theme.rule, linewidth=0.6)
    axes.plot(grid.tolist(), density.tolist(), color=theme.series[0], linewidth=1.2)
    for colour, (name, value) in zip(theme.series[1:], marks.items(), strict=False):
        axes.axvline(value, color=colour, linewidth=1, linestyle="--", label=f"{name} {value:.3g}")
    axes.set_yscale("log")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylim(density.max() * 10.0**-DECADES, density.max() * 2)
    axes.set_xlabel("eigenvalue")
    width, height = figure.get_size_inches()
    figure.text(0.15 / width, 1 - 0.16 / height, title, fontsize=FONT_SIZE, color=theme.ink, va="center")
    axes.legend(loc="lower left", bbox_to_anchor=(0.02, 1), ncols=2, frameon=False, fontsize=FONT_SIZE, labelcolor=theme.ink)
    return figure_png(figure, colours=COLOURS)
