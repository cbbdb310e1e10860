"""The curves of several arms: the mean over their seeds, and a band of one standard deviation around it."""

import statistics
from collections.abc import Mapping, Sequence

from matplotlib.ticker import FuncFormatter, MaxNLocator

from gconv_gan.gallery.page.theme import DARK, LIGHT, Theme
from gconv_gan.gallery.pictures.drawing import Drawing
from gconv_gan.gallery.pictures.figure import FONT_SIZE, add_axes, figure_png, new_figure
from gconv_gan.gallery.pictures.history import short_count

Curve = Mapping[int, float]
"""Images seen -> value."""
STYLES = ("-", "--", ":")
LEGEND = 0.2  # height of a line of the legend in inches
COLOURS = 96  # number of colours of the PNG's palette


def band(curves: Sequence[Curve]) -> dict[int, tuple[float, float]]:
    """Return images seen -> (mean, standard deviation, 0 for one curve) where all curves have a value."""
    common = sorted(set.intersection(*(set(curve) for curve in curves))) if curves else []
    values = {images: [curve[images] for curve in curves] for images in common}
    return {images: (statistics.fmean(found), statistics.stdev(found) if len(found) > 1 else 0.0) for images, found in values.items()}


def draw_bands(arms: Mapping[str, Sequence[Curve]], *, theme: Theme) -> bytes:
    """Return the plot as a PNG; arms whose seeds share no point are left out."""
    rows = -(-len(arms) // 2)
    figure = new_figure(theme, height=2.3 + LEGEND * rows)
    axes = add_axes(figure, theme, left=0.62, right=0.2, bottom=0.5, top=0.15 + LEGEND * rows)
    axes.grid(axis="y", color=theme.rule, linewidth=0.6)
    for index, (name, curves) in enumerate(arms.items()):
        if not (points := band(curves)):
            continue
        colour, style = theme.series[index % len(theme.series)], STYLES[index // len(theme.series) % len(STYLES)]
        means, deviations = zip(*points.values(), strict=True)
        low, high = ([mean + sign * deviation for mean, deviation in points.values()] for sign in (-1, 1))
        axes.fill_between(list(points), low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(list(points), means, style, color=colour, linewidth=1.5, marker="o", markersize=2.5, label=f"{name}  {means[-1]:.4g}")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda count, _: short_count(count)))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    axes.set_xlabel("images seen")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            loc="lower left", bbox_to_anchor=(-0.12, 1), ncols=2, frameon=False, fontsize=FONT_SIZE, labelcolor=theme.ink, handlelength=1.4
        )
    return figure_png(figure, colours=COLOURS)


def band_drawing(score: str, title: str, arms: Mapping[str, Sequence[Curve]]) -> Drawing:
    """Return the panel of one score, light and dark."""
    seeds = max(len(curves) for curves in arms.values())
    last = {name: points[max(points)] for name, curves in arms.items() if (points := band(curves))}
    words = "; ".join(f"{name} {mean:.4g} ± {deviation:.2g}" for name, (mean, deviation) in last.items())
    return Drawing(
        f"curve-{score}.png",
        draw_bands(arms, theme=LIGHT),
        title,
        f"Mean over {seeds} seeds; the band is one standard deviation. The legend names the last mean.",
        f"Curves of {title} over images seen. At the end: {words}.",
        dark=draw_bands(arms, theme=DARK),
        shape="panel",
    )
