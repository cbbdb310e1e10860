"""The picture of a sweep over effective learning rates: trajectories, their phase plot, and the end against the rate."""

import statistics
from operator import attrgetter

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from gconv_gan.experiments.regimes import ORDER, SphereRun, SphereSweep
from gconv_gan.gallery.page.theme import LIGHT
from gconv_gan.gallery.pictures.curves.history import short_count
from gconv_gan.gallery.pictures.figure import FONT_SIZE, add_axes, figure_png, new_figure

WIDTH, HEIGHT = 9.4, 7.6  # inches, as the following sizes
LEFT, GAP, BOTTOM, MIDDLE, TOP = 0.7, 0.75, 0.5, 1.0, 0.95
MARKERS = dict(zip(ORDER, ("o", "s", "^"), strict=True))
COLOUR_MAP = "viridis"
COLOURS = 128  # number of colours of the palette


def plot_sweep(sweep: SphereSweep) -> bytes:
    """Return the picture as a PNG."""
    return figure_png(draw_sweep(sweep), colours=COLOURS)


def draw_sweep(sweep: SphereSweep) -> Figure:
    """Return the figure: loss and effective gradient over images, loss over effective gradient, and both ends over the rate.

    A colour is an effective learning rate, dark for small ones; a marker is a regime; a line is a seed.
    """
    figure = new_figure(LIGHT, width=WIDTH, height=HEIGHT)
    width, height = (WIDTH - LEFT - GAP - 0.2) / 2, (HEIGHT - BOTTOM - MIDDLE - TOP) / 2
    places = [(LEFT + column * (width + GAP), BOTTOM + row * (height + MIDDLE)) for row in (1, 0) for column in (0, 1)]
    axes = [
        add_axes(figure, LIGHT, left=left, right=WIDTH - left - width, bottom=bottom, top=HEIGHT - bottom - height)
        for left, bottom in places
    ]
    titles = ("training loss", "effective gradient norm", "phase plot: training loss over effective gradient norm", "end of training")
    for one, title in zip(axes, titles, strict=True):
        one.set_title(title, fontsize=FONT_SIZE, color=LIGHT.ink, weight="bold", loc="left")
        one.grid(color=LIGHT.rule, linewidth=0.5)
        one.set_yscale("log")
    colours = {rate: colormaps[COLOUR_MAP](0.92 * place / max(1, len(sweep.rates) - 1)) for place, rate in enumerate(sweep.rates)}
    for run in sorted(sweep.runs, key=lambda one: -one.effective_learning_rate):
        _trajectories(axes[:3], sweep, run, colours[run.effective_learning_rate])
    for one in axes[:2]:
        one.xaxis.set_major_formatter(FuncFormatter(lambda count, _: short_count(count)))
        one.set_xlabel("images seen", fontsize=FONT_SIZE)
    axes[2].set_xscale("log")
    axes[2].set_xlabel("effective gradient norm", fontsize=FONT_SIZE)
    _ends(axes[3], sweep)
    handles = [axes[0].plot([], [], color=colours[rate], linewidth=2, label=f"{rate:g}")[0] for rate in sweep.rates]
    columns = min(len(handles), 10)
    for one in axes:
        one.tick_params(which="minor", length=0)
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0.01, 1 - 0.22 / HEIGHT),
        ncols=columns,
        frameon=False,
        fontsize=FONT_SIZE,
        labelcolor=LIGHT.ink,
        handlelength=1.2,
    )
    seeds = f"{len(sweep.seeds)} seeds" if len(sweep.seeds) > 1 else "one seed"
    words = f"{sweep.name}, {seeds}, effective learning rates:"
    figure.text(0.15 / WIDTH, 1 - 0.2 / HEIGHT, words, fontsize=FONT_SIZE, color=LIGHT.ink, weight="bold", va="center")
    return figure


def _trajectories(axes: list[Axes], sweep: SphereSweep, run: SphereRun, colour: object) -> None:
    initial = sweep.initial[run.seed]
    images, losses, gradients = (0, *run.images), (initial.loss, *run.losses), (initial.gradient, *run.gradients)
    axes[0].plot(images, losses, color=colour, linewidth=0.9)
    axes[1].plot(images, gradients, color=colour, linewidth=0.9)
    axes[2].plot(gradients, losses, color=colour, linewidth=0.6, alpha=0.7)
    axes[2].plot(gradients[-1:], losses[-1:], color=colour, marker=MARKERS[run.verdict.regime], markersize=5)


def _ends(axes: Axes, sweep: SphereSweep) -> None:
    """Draw the final loss and effective gradient of every run over its effective learning rate, by regime, and lines of their means."""
    axes.set_xscale("log")
    for colour, values, label in (
        (LIGHT.series[0], attrgetter("verdict.loss"), "training loss"),
        (LIGHT.series[1], attrgetter("verdict.gradient"), "effective gradient norm"),
    ):
        axes.plot(
            sweep.rates, [statistics.median(map(values, sweep.at(rate))) for rate in sweep.rates], color=colour, linewidth=1, label=label
        )
        for run in sweep.runs:
            marker = MARKERS[run.verdict.regime]
            axes.plot([run.effective_learning_rate], [values(run)], color=colour, marker=marker, markersize=5, markerfacecolor="none")
    for name, marker in MARKERS.items():
        axes.plot([], [], color=LIGHT.muted, linestyle="", marker=marker, markersize=5, markerfacecolor="none", label=name)
    axes.set_xlabel("effective learning rate", fontsize=FONT_SIZE)
    axes.legend(loc="best", frameon=False, fontsize=0.9 * FONT_SIZE, labelcolor=LIGHT.ink)
