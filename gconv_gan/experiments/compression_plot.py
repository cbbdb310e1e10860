"""The picture of a compression report: the score over multiply-adds, and the costs of every network as ratios."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from gconv_gan.experiments.plot import COLOURS, LINE, MARKERS, Axis, draw_cost_axis
from gconv_gan.gallery.page.theme import LIGHT
from gconv_gan.gallery.pictures.figure import CHARACTER, FONT_SIZE, add_axes, figure_png, new_figure

WIDTH, RIGHT = 6.4, 0.3  # inches, like what follows
SCATTER = 2.6  # height of the picture of the scores
TITLE, BOTTOM = 0.4, 0.5
BAR = 0.13  # height of a bar
BETWEEN = 0.16  # distance between the bars of two costs


@dataclass(frozen=True)
class Point:
    """The score of one run."""

    row: int
    """Its place among the labels."""
    mmacs: float
    """Million multiply-adds per image."""
    score: float


def plot(
    labels: Sequence[str], ratios: Mapping[str, Sequence[Mapping[str, float]]], points: Sequence[Point], *, score: str, subject: str
) -> bytes:
    """Return the picture as a PNG.

    Args:
        labels: of the rows; the first is what ratios are to.
        ratios: network -> for every row its costs, divided by those of the first row.
        points: scores of rows; none: they are not drawn.
        score: name of the score.
        subject: the network whose multiply-adds stand under the scores.

    """
    costs = {name: list(rows[0]) for name, rows in ratios.items()}
    heights = {name: TITLE + BOTTOM + len(keys) * (len(labels) * BAR + BETWEEN) for name, keys in costs.items()}
    legend = LINE * (len(labels) + 0.3)
    scatter = SCATTER if points else 0.0
    height = legend + scatter + sum(heights.values())
    figure = new_figure(LIGHT, width=WIDTH, height=height)
    top = legend
    if points:
        _scores(figure, points, top=top, bottom=height - top - scatter, score=score, subject=subject)
        top += scatter
    for name, keys in costs.items():
        _bars(figure, ratios[name], keys, top=top, bottom=height - top - heights[name], title=f"{name}, costs / {labels[0]}")
        top += heights[name]
    axes = figure.axes[0]
    handles = [
        axes.plot([], [], color=_colour(row), marker=_marker(row), linestyle="", markersize=6, label=label)[0]
        for row, label in enumerate(labels)
    ]
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0.0, 1.0), frameon=False, fontsize=FONT_SIZE, labelcolor=LIGHT.ink, borderpad=0.4
    )
    return figure_png(figure, colours=COLOURS)


def _colour(row: int) -> str:
    return LIGHT.series[row % len(LIGHT.series)]


def _marker(row: int) -> str:
    return MARKERS[row % len(MARKERS)]


def _scores(figure: Figure, points: Sequence[Point], *, top: float, bottom: float, score: str, subject: str) -> None:
    axes = add_axes(figure, LIGHT, left=0.8, right=RIGHT, bottom=bottom + BOTTOM, top=top + TITLE)
    for point in points:
        axes.plot([point.mmacs], [point.score], marker=_marker(point.row), color=_colour(point.row), linestyle="", markersize=7)
    draw_cost_axis(axes, Axis(f"million MACs per image of the {subject}", tuple(point.mmacs for point in points)))
    axes.margins(y=0.2)
    axes.grid(color=LIGHT.rule, linewidth=0.5)
    axes.set_title(score, fontsize=FONT_SIZE, color=LIGHT.ink, weight="bold", loc="left")


def _bars(figure: Figure, rows: Sequence[Mapping[str, float]], keys: Sequence[str], *, top: float, bottom: float, title: str) -> None:
    """Draw the ratios of every cost, a bar for each row with its value at the end."""
    left = 0.3 + CHARACTER * max(map(len, keys))
    axes = add_axes(figure, LIGHT, left=left, right=RIGHT + 0.4, bottom=bottom + BOTTOM, top=top + TITLE)
    pitch = len(rows) * BAR + BETWEEN
    for place, key in enumerate(keys):
        for row, ratios in enumerate(rows):
            y = place * pitch + row * BAR
            axes.barh(y, ratios[key], height=0.85 * BAR, color=_colour(row))
            axes.text(ratios[key], y, f" {ratios[key]:.2f}", va="center", fontsize=0.85 * FONT_SIZE, color=LIGHT.muted)
    axes.set_yticks([place * pitch + BAR * (len(rows) - 1) / 2 for place in range(len(keys))], list(keys))
    axes.set_ylim((len(keys) - 1) * pitch + len(rows) * BAR, -BAR)
    axes.set_xlim(0, max(1.0, *(ratio for ratios in rows for ratio in ratios.values())))
    axes.axvline(1, color=LIGHT.rule, linewidth=0.8, zorder=0)
    axes.set_xlabel("ratio", fontsize=FONT_SIZE)
    axes.set_title(title, fontsize=FONT_SIZE, color=LIGHT.ink, weight="bold", loc="left")
