"""The plot of an ablation: measure against cost, with a colour and a marker per arm and a dot per seed."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import offset_copy

from gconv_gan.experiments.claims import is_share
from gconv_gan.experiments.report import AblationResult
from gconv_gan.gallery.page.theme import LIGHT
from gconv_gan.gallery.pictures.drawing import Drawing
from gconv_gan.gallery.pictures.figure import FONT_SIZE, add_axes, figure_png, new_figure

MARKERS = ("o", "s", "^", "D", "v", "P")
EQUAL = 0.01  # MACs that differ by less than this share count as equal
WIDE = 4.0  # the cost axis is logarithmic if the costs differ by more than this factor
LINE = 0.2  # height of a line of the legend in inches
COLOURS = 64  # number of colours of the PNG's palette
BESIDE = 9  # distance in points between the dots of an arm's seeds and their mean


@dataclass(frozen=True)
class Axis:
    """Cost of each arm, in their order, and its axis label."""

    label: str
    values: tuple[float, ...]


def cost_axis(result: AblationResult) -> Axis:
    """Return MACs per image or, where two arms have equal MACs, the time of a training step against the first arm's."""
    arms = list(result.arms.values())
    macs = sorted(arm.macs for arm in arms)
    if all(more > less * (1 + EQUAL) for less, more in zip(macs, macs[1:], strict=False)):
        return Axis("million MACs per image", tuple(arm.macs / 1e6 for arm in arms))
    baseline = next(iter(result.arms))
    return Axis(f"time of a training step / that of {baseline}", tuple(arm.step_seconds / arms[0].step_seconds for arm in arms))


def compared_measure(result: AblationResult) -> str:
    """Return the measure of the first two arms that are compared; the first measure if none are."""
    pairs = (entry["measure"] for entry in result.config["compare"] if entry["kind"] in ("difference", "better", "near"))
    return next(pairs, None) or str(result.primary)


def plot(result: AblationResult) -> bytes:
    """Return the plot as a PNG."""
    return figure_png(draw(result), colours=COLOURS)


def plot_drawing(result: AblationResult) -> Drawing:
    """Return the plot as a picture of a page."""
    measure, cost = compared_measure(result).replace("_", " "), cost_axis(result).label
    return Drawing(
        "cost.png", plot(result), f"{measure} against {cost}", "", f"{measure} of every arm and seed against {cost}", shape="panel"
    )


def draw(result: AblationResult) -> Figure:
    """Return the figure: the compared measure (each seed, their mean, a bar of one standard deviation) against cost."""
    lines = math.ceil(len(result.arms) / 2)
    figure = new_figure(LIGHT, height=3.0 + LINE * lines)
    axes = add_axes(figure, LIGHT, left=0.6, right=0.25, bottom=0.5, top=0.4 + LINE * lines)
    measure, axis = compared_measure(result), cost_axis(result)
    scale, unit = (100, ", %") if is_share(measure) else (1, "")
    for index, (name, arm) in enumerate(result.arms.items()):
        if values := [scale * value for value in arm.of(measure).values()]:
            draw_arm(figure, axes, index, name, axis.values[index], values)
    axes.set_ylabel(measure.replace("_", " ") + unit, fontsize=FONT_SIZE, color=LIGHT.muted)
    draw_cost_axis(axes, axis)
    axes.grid(color=LIGHT.rule, linewidth=0.5)
    seeds = max(len(arm.seeds) for arm in result.arms.values())
    width, height = figure.get_size_inches()
    title = f"{result.name}: {seeds} seeds, mean ± deviation" if seeds > 1 else f"{result.name}: one seed"
    figure.text(0.15 / width, 1 - 0.2 / height, title, fontsize=FONT_SIZE, color=LIGHT.ink, weight="bold", va="center")
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.02, 1), ncols=2, fontsize=FONT_SIZE, frameon=False, labelcolor=LIGHT.ink, borderpad=0.2
    )
    return figure


def look(index: int) -> tuple[str, str]:
    """Return the colour and the marker of an arm; 24 arms look different."""
    colours = LIGHT.series
    period = math.lcm(len(colours), len(MARKERS))
    return colours[index % len(colours)], MARKERS[(index + index // period) % len(MARKERS)]


def draw_arm(figure: Figure, axes: Axes, index: int, name: str, cost: float, values: Sequence[float]) -> None:
    """Draw the mean of one arm as its marker with a bar of one standard deviation, and its seeds as dots to the left."""
    colour, marker = look(index)
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    beside = offset_copy(axes.transData, figure, x=-BESIDE, units="points")
    axes.update_datalim([(cost, value) for value in values])  # shifted dots do not extend the limits
    axes.plot([cost] * len(values), values, linestyle="", marker="o", markersize=3.5, color=colour, alpha=0.7, transform=beside)
    axes.errorbar(
        cost,
        statistics.fmean(values),
        yerr=deviation,
        fmt=marker,
        markersize=7,
        markerfacecolor="none",
        color=colour,
        capsize=5,
        label=name,
    )


def draw_cost_axis(axes: Axes, axis: Axis) -> None:
    """Label the axis of costs and leave a margin at both ends; logarithmic if the costs differ by a large factor."""
    low, high = min(axis.values), max(axis.values)
    if low > 0 and high > WIDE * low:
        axes.set_xscale("log")
        axes.set_xlim(low / (high / low) ** 0.15, high * (high / low) ** 0.15)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        room = 0.3 * (high - low) or 0.1 * high
        axes.set_xlim(max(0.0, low - room), high + room)
        axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    axes.set_xlabel(axis.label, fontsize=FONT_SIZE)


def dots(values: Mapping[str, Sequence[float]], *, title: str, label: str) -> bytes:
    """Return a picture of named groups of values, one row each with a dot per value and a line at their mean, as a PNG."""
    figure = new_figure(LIGHT, height=0.9 + 0.35 * len(values))
    axes = add_axes(figure, LIGHT, left=2.4, right=0.25, bottom=0.5, top=0.4)
    for row, (colour, found) in enumerate(zip(cycle(LIGHT.series), values.values(), strict=False)):
        axes.plot(found, [row] * len(found), linestyle="", marker="o", markersize=4, color=colour, alpha=0.8)
        axes.plot([statistics.fmean(found)] * 2, [row - 0.3, row + 0.3], color=colour)
    axes.set_yticks(range(len(values)), list(values))
    axes.invert_yaxis()
    axes.set_xlabel(label, fontsize=FONT_SIZE)
    axes.grid(color=LIGHT.rule, linewidth=0.5, axis="x")
    width, height = figure.get_size_inches()
    figure.text(0.15 / width, 1 - 0.2 / height, title, fontsize=FONT_SIZE, color=LIGHT.ink, weight="bold", va="center")
    return figure_png(figure, colours=COLOURS)
