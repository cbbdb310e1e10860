"""The curves of several arms: the mean over their seeds, and a band of one standard deviation around it."""

import statistics
from collections.abc import Mapping, Sequence

from gconv_gan.gallery.page.score_names import direction
from gconv_gan.gallery.pictures.curves_svg import curves_svg
from gconv_gan.gallery.pictures.drawing import Drawing
from gconv_gan.gallery.pictures.history import SHARES, Series, spans_decade

Curve = Mapping[int, float]
"""Images seen -> value."""


def band(curves: Sequence[Curve]) -> dict[int, tuple[float, float]]:
    """Return images seen -> (mean, standard deviation, 0 for one curve) where all curves have a value."""
    common = sorted(set.intersection(*(set(curve) for curve in curves))) if curves else []
    values = {images: [curve[images] for curve in curves] for images in common}
    return {images: (statistics.fmean(found), statistics.stdev(found) if len(found) > 1 else 0.0) for images, found in values.items()}


def band_drawing(score: str, title: str, arms: Mapping[str, Sequence[Curve]]) -> Drawing | None:
    """Return the panel of one score; an arm whose seeds share no point is left out, and None is returned if no arm has one.

    The axis of a distance whose means span a power of ten is logarithmic, unless a band reaches 0.
    """
    found = {name: points for name, curves in arms.items() if (points := band(curves))}
    if not found:
        return None
    means = {name: tuple((float(images), mean) for images, (mean, _) in points.items()) for name, points in found.items()}
    lower = {
        name: tuple((float(images), mean - deviation) for images, (mean, deviation) in points.items()) for name, points in found.items()
    }
    bands = {
        name: tuple((float(images), deviation) for images, (_, deviation) in points.items())
        for name, points in found.items()
        if len(arms[name]) > 1
    }
    log_scale = (
        direction(score).endswith("lower is better") and spans_decade(means) and min(v for one in lower.values() for _, v in one) > 0
    )
    title = f"{title}, log scale" if log_scale else title
    last = {name: points[max(points)] for name, points in found.items()}
    words = "; ".join(f"{name} {mean:.4g} ± {deviation:.2g}" for name, (mean, deviation) in last.items())
    alt = f"Curves of {title} over images seen. At the end: {words}."
    series = Series(f"curve-{score}", title, means, log_scale, (0.0, 1.0) if score in SHARES else None)
    seeds = max(len(curves) for curves in arms.values())
    return Drawing(
        f"curve-{score}.svg",
        curves_svg(series, label=alt, bands=bands, order=list(arms)),
        title,
        f"Mean over {seeds} seeds; the band, and the number behind ±, is one standard deviation." if bands else "One seed.",
        alt,
        shape="panel",
    )
