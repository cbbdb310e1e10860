"""Scales of the tensors of networks, and the norms of their gradients before and after: what GradInit found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from gconv_gan.gallery.page.theme import Theme
from gconv_gan.gallery.pictures.figure import FONT_SIZE, WIDTH, add_axes, figure_png, new_figure

HEIGHT = 2.6  # inches of the row of a network
LEFT, RIGHT, BOTTOM, TOP = 0.6, 0.2, 0.48, 0.5
COLOURS = 48  # of the palette: lines and text need few
SORTS = ("kernels and matrices", "vectors")


@dataclass(frozen=True)
class ScaledTensor:
    """A parameter tensor and its scale."""

    name: str
    shape: tuple[int, ...]
    scale: float
    free: bool
    """Whether a scale has an effect: not of a tensor of zeros, nor of a weight whose scale its layer divides out."""
    before: Mapping[Literal[1, 2], float]
    """p-norm of its gradient, by p."""
    after: Mapping[Literal[1, 2], float]


def draw_scales(networks: Mapping[str, Sequence[ScaledTensor]], *, theme: Theme) -> bytes:
    """Return a PNG with a row per network: scales of its tensors in order, and the 2-norms of their gradients on a logarithmic axis."""
    figure = new_figure(theme, height=HEIGHT * len(networks), width=2 * WIDTH)
    for row, (name, tensors) in enumerate(networks.items()):
        left, right = (_axes(figure, theme, row, column, len(networks)) for column in range(2))
        places = range(1, len(tensors) + 1)
        for sort, colour in zip(SORTS, theme.series, strict=False):
            shown = [
                (x, one.scale) for x, one in zip(places, tensors, strict=True) if one.free and (len(one.shape) > 1) == (sort == SORTS[0])
            ]
            if shown:
                xs, ys = zip(*shown, strict=True)
                left.plot(xs, ys, linestyle="", marker="o", markersize=3.5, color=colour, label=sort)
        left.axhline(1, color=theme.muted, linewidth=0.8)
        for label, norms, colour in (
            ("before", [one.before[2] for one in tensors], theme.series[1]),
            ("after", [one.after[2] for one in tensors], theme.series[2]),
        ):
            shown = [(x, norm) for x, norm in zip(places, norms, strict=True) if norm > 0]
            if shown:
                xs, ys = zip(*shown, strict=True)
                right.plot(xs, ys, linewidth=1.0, marker="o", markersize=2.5, color=colour, label=label)
        right.set_yscale("log")
        right.yaxis.set_major_locator(LogLocator(subs=(1,), numticks=6))
        right.yaxis.set_minor_locator(NullLocator())
        right.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0e}" if value < 0.01 else f"{value:.4g}"))
        for axes, title in ((left, f"{name}: scale of each tensor"), (right, "norm of its gradient")):
            _finish(axes, theme, title)
    return figure_png(figure, colours=COLOURS)


def _axes(figure: Figure, theme: Theme, row: int, column: int, rows: int) -> Axes:
    above, below = HEIGHT * row, HEIGHT * (rows - 1 - row)
    axes = add_axes(figure, theme, left=WIDTH * column + LEFT, right=WIDTH * (1 - column) + RIGHT, bottom=below + BOTTOM, top=above + TOP)
    axes.grid(axis="y", color=theme.rule, linewidth=0.6)
    axes.set_axisbelow(True)
    return axes


def _finish(axes: Axes, theme: Theme, title: str) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlabel("number of the tensor in the network")
    axes.set_title(title, fontsize=FONT_SIZE, color=theme.ink, loc="left", y=1.1)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(-0.02, 0.98),
            ncols=2,
            frameon=False,
            fontsize=FONT_SIZE,
            labelcolor=theme.ink,
            handlelength=1.0,
        )
