"""Norms, effective learning rates, angular updates and effective gradients of every scale-invariant layer over images seen.

They are in the records of a run with the method ``effective_learning_rates``.
"""

from collections.abc import Mapping, Sequence

from matplotlib import colormaps
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from gconv_gan.gallery.page.theme import DARK, LIGHT, Theme
from gconv_gan.gallery.pictures.drawing import Drawing
from gconv_gan.gallery.pictures.figure import FONT_SIZE, add_axes, figure_png, new_figure
from gconv_gan.gallery.pictures.history import BOTTOM, COLOURS, HEIGHT, LEFT, RIGHT, TOP, Points, Record, points, short_count, thin
from gconv_gan.gallery.trained_generator import TrainedGenerator

QUANTITIES: Mapping[str, tuple[str, str]] = {
    "effective_learning_rate": ("Effective learning rates", "lr / ‖w‖²"),
    "weight_norm": ("Norms of the weights", "‖w‖"),
    "angular_update": ("Angular updates", "radians a step"),
    "effective_gradient_norm": ("Effective gradient norms", "‖w‖ ‖∇L‖"),
}
"""Title and unit of each quantity, by the first part of its keys ``QUANTITY/PLAYER/LAYER``."""
PLAYERS = ("generator", "discriminator")
COLOUR_MAP = "viridis"
LAST = 0.9  # of the colour map: its end is too light for a line on white
JOINT = "all"  # layer that stands for all together


def draw_effective_learning_rates(trained: TrainedGenerator, *, seed: int) -> list[Drawing]:
    """Return a panel per player and quantity with a curve per layer; no drawing for a run that did not measure them."""
    drawings = []
    for player in PLAYERS:
        for quantity, (title, unit) in QUANTITIES.items():
            curves = layer_curves(trained.records, f"{quantity}/{player}/")
            if not curves:
                continue
            names = [name for name in curves if name != JOINT]
            first, last = (sorted(curve[end][1] for name, curve in curves.items() if name in names) for end in (0, -1))
            drawings.append(
                Drawing(
                    file=f"history-{quantity.replace('_', '-')}-{player}.png",
                    content=draw_layers(curves, theme=LIGHT),
                    dark=draw_layers(curves, theme=DARK),
                    title=f"{title} of the {player}, {unit}, log scale",
                    caption=f"A line per layer, from {names[0]} (dark) to {names[-1]} (light); dashed: all together.",
                    alt=f"{title} of {len(first)} layers of the {player} over images seen: from {first[0]:.2g} to {first[-1]:.2g} at "
                    f"first, from {last[0]:.2g} to {last[-1]:.2g} at last.",
                    shape="panel",
                )
            )
    return drawings


def layer_curves(records: Sequence[Record], prefix: str) -> dict[str, Points]:
    """Return the curve of every layer, in the order of the network, from the keys that begin with ``prefix``; only positive values."""
    keys = dict.fromkeys(key for record in records for key in record if key.startswith(prefix))
    curves = {key.removeprefix(prefix): tuple((images, value) for images, value in points(records, key) if value > 0) for key in keys}
    return {layer: curve for layer, curve in curves.items() if curve}


def draw_layers(curves: Mapping[str, Points], *, theme: Theme) -> bytes:
    """Return the curves of the layers as a PNG: one panel with a logarithmic axis, coloured by depth."""
    figure = new_figure(theme, height=HEIGHT)
    axes = add_axes(figure, theme, left=LEFT, right=RIGHT, bottom=BOTTOM, top=TOP)
    axes.grid(axis="y", color=theme.rule, linewidth=0.6)
    axes.set_axisbelow(True)
    layers = [layer for layer in curves if layer != JOINT]
    for depth, layer in enumerate(layers):
        images, heights = zip(*thin(curves[layer]), strict=True)
        colour = colormaps[COLOUR_MAP](LAST * depth / max(1, len(layers) - 1))
        label = {0: "first layer", len(layers) - 1: "last layer"}.get(depth)
        axes.plot(images, heights, color=colour, linewidth=1.1, marker="o", markersize=2, label=label)
    if JOINT in curves:
        images, heights = zip(*thin(curves[JOINT]), strict=True)
        axes.plot(images, heights, color=theme.ink, linewidth=1.1, linestyle="--", label="all")
    axes.set_yscale("log")
    values = [value for curve in curves.values() for _, value in curve]
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(values) < 100 * min(values) else (1,)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0e}" if value < 0.01 else f"{value:.4g}"))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda count, _: short_count(count)))
    axes.set_xlabel("images seen")
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.01, 1), ncols=3, frameon=False, fontsize=FONT_SIZE, labelcolor=theme.ink, handlelength=1.0
    )
    return figure_png(figure, colours=COLOURS)
