"""The curves of several runs in the same axes: each score, and each quantity of the training log, that two runs or more have."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from gconv_gan.gallery.pictures.curves.curves_svg import curves_svg
from gconv_gan.gallery.pictures.curves.history import Series, score_series, training_series
from gconv_gan.gallery.pictures.curves.score_curves import checkpoint_curves
from gconv_gan.gallery.pictures.drawing import Drawing
from gconv_gan.gallery.trained_generator import TrainedGenerator

LOG_SCALE = ", log scale"  # end of the title of a series with a logarithmic axis


def overlaid_curves(runs: Mapping[str, TrainedGenerator]) -> list[Drawing]:
    """Return a panel for each quantity: scores of checkpoints, scores computed during training, then losses and the other numbers.

    Args:
        runs: the name in the legend -> the run's records and scores.

    Raises:
        UserError: the log has a score without a protocol.

    """
    found: dict[tuple[str, ...], dict[str, tuple[Series, str]]] = {}
    for name, trained in runs.items():
        for quantity, panel in _panels(trained).items():
            found.setdefault(quantity, {})[name] = panel
    ordered = sorted((quantity for quantity, panels in found.items() if len(panels) > 1), key=lambda quantity: int(quantity[0]))
    return [_drawing(f"curves-{index:02}.svg", found[quantity], list(runs)) for index, quantity in enumerate(ordered)]


def _panels(trained: TrainedGenerator) -> dict[tuple[str, ...], tuple[Series, str]]:
    """Return group and name of a quantity -> its series with one curve, and a caption. Quantities of equal names are comparable."""
    found: dict[tuple[str, ...], tuple[Series, str]] = {}
    for curve in checkpoint_curves(trained.scores):
        found["0", curve.kind, curve.key] = curve.series, f"Computed from the checkpoints: {curve.setting}."
    for series in score_series(trained.records, trained.lower_is_better):
        found["1", series.name] = series, "Computed during training."
    for series in training_series(trained.records):
        title = series.title.removesuffix(LOG_SCALE)
        for label, points in series.curves.items():
            named = f"{title}, {label}" if len(series.curves) > 1 else title
            found["2", series.name, label] = replace(series, title=named, curves={label: points}), ""
    return found


def _drawing(file: str, panels: Mapping[str, tuple[Series, str]], runs: Sequence[str]) -> Drawing:
    first, caption = next(iter(panels.values()))
    curves = {name: next(iter(series.curves.values())) for name, (series, _) in panels.items()}
    positive = min(value for curve in curves.values() for _, value in curve) > 0
    log_scale = positive and any(series.log_scale for series, _ in panels.values())
    title = first.title.removesuffix(LOG_SCALE) + (LOG_SCALE if log_scale else "")
    ends = "; ".join(f"{name}: {curve[0][1]:.3g} at first, {curve[-1][1]:.3g} at last" for name, curve in curves.items())
    alt = f"{title} over images seen. {ends}."
    series = replace(first, title=title, curves=curves, log_scale=log_scale)
    return Drawing(file, curves_svg(series, label=alt, order=runs), title, caption, alt, shape="panel")
