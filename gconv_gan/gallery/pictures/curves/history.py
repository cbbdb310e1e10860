"""Curves over images seen: scores, losses, the discriminator's accuracy, gradient norms, gate entropy, speed.

One panel is one small figure, which a page lays out in as many columns as fit. A score's curve holds points of one protocol
only: numbers of different protocols never share an axis.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from textwrap import wrap

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from gconv_gan.config.errors import UserError
from gconv_gan.gallery.page.score_names import NAMES, Direction, direction, in_words, score_name
from gconv_gan.gallery.page.theme import Theme
from gconv_gan.gallery.pictures.figure import FONT_SIZE, WIDTH, add_axes, figure_png, new_figure

SHARES = ("precision", "recall", "coverage", "clipped_density", "clipped_coverage")  # scores from 0 to 1
SHORTEST = 0.25  # of a linear axis, as a part of the largest magnitude of its values
IMAGES = "images"  # key of the number of real images seen in a record of the training log
IMAGES_SEEN = "images seen"
HEIGHT = 2.5  # inches, like what follows
LEFT, RIGHT, BOTTOM, TOP = 0.6, 0.2, 0.48, 0.34  # margins around the axes of a panel
HEADING, MARGIN = 0.36, 0.15  # of a sheet of panels: two lines of text, and their distance to the left edge
TITLE_CHARACTERS = 54  # length of a line of a panel's title
FEW_POINTS = 20  # up to this number, every point of a curve is marked
COLOURS = 48  # number of colours of the palette
ALL_LAYERS = "all"  # name of the curve of all layers together
MAX_POINTS = 100  # per curve; more points of noise would overlap to a band

Record = Mapping[str, object]
Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Panel:
    """A figure of one or more curves of the same unit: ``curves`` maps the labels of the legend to keys of the records."""

    name: str
    title: str
    curves: Mapping[str, str]
    log_scale: bool = False
    """Use a logarithmic axis if the values span a power of ten or more."""
    limits: tuple[float, float] | None = None
    """Ends of the axis, for a quantity that has a smallest and a largest value."""


PANELS = (
    Panel("losses", "Losses", {"discriminator": "loss_d", "generator": "loss_g"}),
    Panel("logits", "Mean logits of the discriminator", {"on real": "d_real", "on generated": "d_fake"}),
    Panel("accuracy", "Discriminator's accuracy", {"on real": "accuracy_real", "on generated": "accuracy_fake"}, limits=(0.0, 1.0)),
    Panel("gradients", "Gradient norms", {"discriminator": "grad_norm_d", "generator": "grad_norm_g"}, log_scale=True),
    Panel("gates", "Entropy of the kernel gates", {"mean over layers": "gate_entropy"}, limits=(0.0, 1.0)),
    Panel("speed", "Seconds per thousand images", {"training": "seconds_per_kimg"}),
)


@dataclass(frozen=True)
class Series:
    """Curves of one panel: label of the legend -> (images seen, value) pairs, or pairs of another quantity with a value."""

    name: str
    title: str
    curves: Mapping[str, Points]
    log_scale: bool = False
    """Whether the axis is logarithmic; all values are then positive."""
    limits: tuple[float, float] | None = None
    """Ends of a linear axis that the values do not exceed; None: from the values."""
    across: str = IMAGES_SEEN
    """The quantity of the horizontal axis."""
    log_across: bool = False
    """Whether the horizontal axis is logarithmic; all places are then positive."""
    deviations: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Half the height of the band around each point of a curve that has one."""
    layers: bool = False
    """Whether a curve is a layer of a network, in their order, but for the one that is called ``ALL_LAYERS``."""


def number(value: object) -> float | None:
    """Return a finite number as a float, and None for anything else (text, lists, booleans, not-a-number)."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def points(records: Sequence[Record], key: str) -> Points:
    """Return (images seen, value) of every record that has both, in the order of the records."""
    pairs = ((number(record.get(IMAGES)), number(record.get(key))) for record in records)
    return tuple((images, value) for images, value in pairs if images is not None and value is not None)


def training_series(records: Sequence[Record]) -> list[Series]:
    """Return the panels of ``PANELS`` that the records have numbers for."""
    found = []
    for panel in PANELS:
        curves = {label: points(records, key) for label, key in panel.curves.items()}
        curves = {label: curve for label, curve in curves.items() if curve}
        if curves:
            log_scale = panel.log_scale and spans_decade(curves)
            found.append(Series(panel.name, f"{panel.title}, log scale" if log_scale else panel.title, curves, log_scale, panel.limits))
    return found


def spans_decade(curves: Mapping[str, Points]) -> bool:
    """Return whether all values are positive and the largest is ten times the smallest or more."""
    values = [value for curve in curves.values() for _, value in curve]
    return min(values) > 0 and max(values) >= 10 * min(values)


def score_series(records: Sequence[Record], lower_is_better: Collection[str]) -> list[Series]:
    """Return one panel for each key "protocol/score" of the records: "fid2k/fd" is a Fréchet distance under the protocol fid2k.

    Args:
        records: of the training log.
        lower_is_better: keys of all known scores for which lower is better.

    Raises:
        UserError: if a record has a score without a protocol.

    """
    keys = list(dict.fromkeys(key for record in records for key in record if key.rpartition("/")[2] in NAMES))
    bare = [key for key in keys if "/" not in key]
    if bare:
        raise UserError(f"the metrics name the score {bare[0]!r} without its protocol; write it as 'protocol/{bare[0]}'")
    panels = []
    for key in keys:
        protocol, _, name = key.rpartition("/")
        beside = [other.rpartition("/")[2] for other in keys if other.startswith(f"{protocol}/")]
        if curve := points(records, key):
            better = direction(name, lower_is_better)
            title = f"{score_name(name, beside)}{in_words(better)} ({protocol})"
            panels.append(score_curve(f"score-{protocol.replace('/', '-')}-{name}", title, name, curve, better=better))
    return panels


def score_curve(name: str, title: str, score: str, curve: Points, *, better: Direction | None) -> Series:
    """Return the panel of one score of one run; see ``score_curves``."""
    return score_curves(name, title, score, {score: curve}, {}, better=better)


def score_curves(
    name: str,
    title: str,
    score: str,
    curves: Mapping[str, Points],
    deviations: Mapping[str, tuple[float, ...]],
    *,
    better: Direction | None,
) -> Series:
    """Return the panel of one score: a distance that falls by a power of ten has a logarithmic axis, a share the axis 0 to 1.

    The axis stays linear where a band of ``deviations`` around a curve reaches 0.
    """
    above_0 = all(value > deviation for one, wide in deviations.items() for (_, value), deviation in zip(curves[one], wide, strict=True))
    log_scale = bool(curves) and better == "lower" and above_0 and spans_decade(curves)
    limits = (0.0, 1.0) if score in SHARES else None
    return Series(name, f"{title}, log scale" if log_scale else title, curves, log_scale, limits, deviations=deviations)


def axis_range(series: Series) -> tuple[float, float]:
    """Return the ends of the axis of the values.

    They are the limits of the series, if it has them and no value exceeds them; else those of the values. A linear axis is never shorter
    than ``SHORTEST`` times the largest magnitude, so that a change of a fraction of a percent looks like one.
    """
    values = [value for curve in series.curves.values() for _, value in curve]
    for name, deviations in series.deviations.items():
        values += [
            value + sign * deviation for (_, value), deviation in zip(series.curves[name], deviations, strict=True) for sign in (-1, 1)
        ]
    low, high = min(values, default=0.0), max(values, default=1.0)
    if series.log_scale:
        return low / 1.1, high * 1.1
    if series.limits is not None and series.limits[0] <= low and high <= series.limits[1]:
        return series.limits
    span = max(1.1 * (high - low), SHORTEST * max(abs(low), abs(high)), 1e-12)
    middle = (low + high) / 2
    start = middle - span / 2
    start = max(0.0, start) if low >= 0 else start
    return start, start + span


def value_text(value: float) -> str:
    """Return a number of an axis or of a point with at most four digits."""
    return f"{value:.4g}"


def short_count(count: int | float) -> str:
    """Return a count in short form: 0, 640, 6.4k, 64k, 1.28M."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if abs(count) >= size:
            return f"{count / size:.3g}{unit}"
    return f"{count:.3g}"


def thin(curve: Points) -> Points:
    """Return at most ``MAX_POINTS`` points, each the mean of equally many consecutive points (the last one of the remainder)."""
    size = -(-len(curve) // MAX_POINTS)
    groups = (curve[start : start + size] for start in range(0, len(curve), size))
    return tuple((fmean(images for images, _ in group), fmean(value for _, value in group)) for group in groups)


def draw_sheet(panels: Sequence[Series], *, title: str, theme: Theme) -> bytes:
    """Return all panels as one PNG in two columns, each below its title, the whole below ``title``."""
    rows = -(-len(panels) // 2)
    figure = new_figure(theme, width=2 * WIDTH, height=HEADING + rows * (HEIGHT + HEADING))
    width, height = figure.get_size_inches()
    figure.text(MARGIN / width, 1 - 0.6 * HEADING / height, title, fontsize=1.4 * FONT_SIZE, color=theme.ink, weight="bold", va="center")
    for index, series in enumerate(panels):
        row, column = divmod(index, 2)
        left, top = column * WIDTH, HEADING + row * (HEIGHT + HEADING)  # of the panel's title
        words = "\n".join(wrap(series.title, TITLE_CHARACTERS, max_lines=2, placeholder=" …"))
        place = ((left + MARGIN) / width, 1 - (top + 0.5 * HEADING) / height)
        figure.text(*place, words, fontsize=FONT_SIZE, color=theme.ink, weight="bold", va="center")
        axes = add_axes(
            figure,
            theme,
            left=left + LEFT,
            right=width - left - WIDTH + RIGHT,
            top=top + HEADING + TOP,
            bottom=height - top - HEADING - HEIGHT + BOTTOM,
        )
        plot_series(axes, series, theme=theme)
    return figure_png(figure, colours=COLOURS)


def plot_series(axes: Axes, series: Series, *, theme: Theme) -> None:
    """Plot the curves of one panel, with a legend above that names their newest values."""
    axes.grid(axis="y", color=theme.rule, linewidth=0.6)
    axes.set_axisbelow(True)
    for colour, (label, curve) in zip(theme.series, series.curves.items(), strict=False):
        images, values = zip(*thin(curve), strict=True)
        words = f"{label if len(series.curves) > 1 else 'newest'}  {curve[-1][1]:.3g}"
        marker = "o" if len(images) <= FEW_POINTS else ""
        axes.plot(images, values, color=colour, linewidth=1.5, marker=marker, markersize=2.5, label=words)
        axes.plot(images[-1:], values[-1:], color=colour, marker="o", markersize=4, clip_on=False)
    smallest, largest = axis_range(series)
    if series.log_scale:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if largest < 300 * smallest else (1,)))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set_ylim(smallest, largest)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: value_text(value)))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda count, _: short_count(count)))
    axes.set_xlabel(IMAGES_SEEN)
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.01, 1), ncols=2, frameon=False, fontsize=FONT_SIZE, labelcolor=theme.ink, handlelength=1.2
    )
