"""Heat maps of the gates of a GConv layer."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from gconv_gan.gallery.page.theme import Theme
from gconv_gan.gallery.pictures.figure import CHARACTER, FONT_SIZE, WIDTH, add_axes, figure_png, new_figure
from gconv_gan.gallery.pictures.gates import normalised_entropy, strongest_first
from gconv_gan.gallery.pictures.grid import tile

COLOUR_MAP = "viridis"
ROW_HEIGHT = 0.24  # inches, as all sizes here
MAX_HEIGHT = 8.0  # with more rows than fit, rows become thinner and a subset is labelled
MIN_LINE = 0.15  # between two labels
TOP, BOTTOM, RIGHT, GAP, SCALE_WIDTH = 0.36, 0.3, 0.56, 0.12, 0.8
LABEL_LENGTH = 14  # characters
MIN_SCALE = 1e-12  # end of the colour scale if all gates are 0


def draw_gate_map(
    gates: Float[Tensor, "r n"],
    *,
    labels: Sequence[str],
    theme: Theme,
    images: UInt8[Tensor, "r 3 h w"] | None = None,
    largest: float | None = None,
) -> bytes:
    """Return a heat map as a PNG: a row per latent or class, a column per kernel, the largest mean first, each row's entropy beside it.

    The colour scale goes from zero to the largest possible gate, so that nearly equal gates have nearly equal colours.

    Args:
        gates: one row per line of the map.
        labels: the rows' names.
        theme: colours.
        images: the picture that each row's latent generates, shown instead of its name.
        largest: the value that no gate can exceed; None: there is none, and the scale ends at the largest of ``gates``.

    Raises:
        ValueError: if the number of labels is not that of the rows, or a gate is negative.

    """
    rows, kernels = gates.shape
    if len(labels) != rows:
        raise ValueError(f"a gate map of {rows} rows needs as many labels, not {len(labels)}")
    entropies = normalised_entropy(gates)
    values = gates[:, strongest_first(gates)].float().numpy()
    strongest = max(float(values.max()), MIN_SCALE) if largest is None else largest
    height = min(MAX_HEIGHT, ROW_HEIGHT * rows)
    names = [label if len(label) <= LABEL_LENGTH else label[: LABEL_LENGTH - 1] + "…" for label in labels]
    left = GAP + (height / rows if images is not None else CHARACTER * max(map(len, names)))
    figure = new_figure(theme, height=TOP + height + BOTTOM)
    quiet: dict[str, Any] = {"color": theme.muted, "fontsize": FONT_SIZE}

    axes = add_axes(figure, theme, left=left, right=RIGHT, bottom=BOTTOM, top=TOP)
    axes.imshow(values, aspect="auto", cmap=COLOUR_MAP, vmin=0, vmax=strongest, interpolation="nearest")
    shown = range(0, rows, -(-rows // int(height / MIN_LINE)))
    axes.set_yticks(list(shown), ["" if images is not None else names[row] for row in shown], color=theme.ink)
    axes.set_xticks([0, kernels - 1] if kernels > 1 else [0], ["1", str(kernels)] if kernels > 1 else ["1"])
    axes.set_xlabel("kernels, strongest first", labelpad=-9 if kernels > 4 else 2)
    for row in shown:
        axes.text(1.02, row, f"{entropies[row]:.2f}", transform=axes.get_yaxis_transform(), va="center", **quiet)
    axes.text(1.02, 1 + 0.12 / height, "entropy", transform=axes.transAxes, va="bottom", **quiet)
    if len(shown) == rows:
        axes.hlines([row + 0.5 for row in range(rows - 1)], -0.5, kernels - 0.5, colors=theme.card, linewidths=1.2)

    scale = add_axes(figure, theme, left=left, right=WIDTH - left - SCALE_WIDTH, bottom=BOTTOM + height + 0.14, top=TOP - 0.22)
    scale.imshow(np.linspace(0, 1, 256)[None], aspect="auto", cmap=COLOUR_MAP)
    scale.set_axis_off()
    scale.text(1.06, 0.5, f"gate from 0 to {strongest:.3g}", transform=scale.transAxes, va="center_baseline", **quiet)
    if images is not None:
        strip = add_axes(figure, theme, left=GAP / 2, right=WIDTH - left + GAP / 2, bottom=BOTTOM, top=TOP)
        strip.imshow(tile(images, columns=1), aspect="auto", interpolation="nearest")
        strip.set_axis_off()
    return figure_png(figure)
