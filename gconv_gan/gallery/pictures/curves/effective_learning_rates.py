"""Norms, effective learning rates, angular updates and effective gradients of every scale-invariant layer over images seen.

They are in the records of a run with the method ``effective_learning_rates``.
"""

from collections.abc import Mapping, Sequence

from gconv_gan.gallery.pictures.curves.curves_svg import curves_svg
from gconv_gan.gallery.pictures.curves.history import ALL_LAYERS, Points, Record, Series, points
from gconv_gan.gallery.pictures.drawing import Drawing
from gconv_gan.gallery.trained_generator import TrainedGenerator

QUANTITIES: Mapping[str, tuple[str, str]] = {
    "effective_learning_rate": ("Effective learning rates", "lr / ‖w‖²"),
    "weight_norm": ("Norms of the weights", "‖w‖"),
    "angular_update": ("Angular updates", "radians a step"),
    "effective_gradient_norm": ("Effective gradient norms", "‖w‖ ‖∇L‖"),
}
"""Title and unit of each quantity, by the first part of its keys ``QUANTITY/PLAYER/LAYER``."""
PLAYERS = ("generator", "discriminator")


def draw_effective_learning_rates(trained: TrainedGenerator, *, seed: int) -> list[Drawing]:
    """Return a panel per player and quantity with a curve per layer; no drawing for a run that did not measure them."""
    drawings = []
    for player in PLAYERS:
        for quantity, (title, unit) in QUANTITIES.items():
            curves = layer_curves(trained.records, f"{quantity}/{player}/")
            if not curves:
                continue
            names = [name for name in curves if name != ALL_LAYERS]
            first, last = (sorted(curves[name][end][1] for name in names) for end in (0, -1))
            words = f"{title} of the {player}, {unit}"
            alt = (
                f"{title} of {len(first)} layers of the {player} over images seen: from {first[0]:.2g} to {first[-1]:.2g} at first, from "
                f"{last[0]:.2g} to {last[-1]:.2g} at last."
            )
            panel = Series(f"{quantity.replace('_', '-')}-{player}", f"{words}, log scale", curves, log_scale=True, layers=True)
            drawings.append(
                Drawing(
                    file=f"history-{panel.name}.svg",
                    content=curves_svg(panel, label=alt),
                    title=panel.title,
                    caption=f"A line per layer, from {names[0]} to {names[-1]}; dashed: all together.",
                    alt=alt,
                    shape="panel",
                )
            )
    return drawings


def layer_curves(records: Sequence[Record], prefix: str) -> dict[str, Points]:
    """Return the curve of every layer, in the order of the network, from the keys that begin with ``prefix``; only positive values."""
    keys = dict.fromkeys(key for record in records for key in record if key.startswith(prefix))
    curves = {key.removeprefix(prefix): tuple((images, value) for images, value in points(records, key) if value > 0) for key in keys}
    return {layer: curve for layer, curve in curves.items() if curve}
