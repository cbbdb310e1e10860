"""The curves of several arms: the mean over their seeds, and a band of one standard deviation around it."""

import statistics
from collections.abc import Mapping, Sequence

from gconv_gan.gallery.page.score_names import Direction
from gconv_gan.gallery.pictures.curves.curves_svg import curves_svg, deviation_text
from gconv_gan.gallery.pictures.curves.history import score_curves
from gconv_gan.gallery.pictures.drawing import Drawing

Curve = Mapping[int, float]
"""Images seen -> value."""


def band(curves: Sequence[Curve]) -> dict[int, tuple[float, float]]:
    """Return images seen -> (mean, standard deviation, 0 for one curve) where all curves have a value."""
    common = sorted(set.intersection(*(set(curve) for curve in curves))) if curves else []
    values = {images: [curve[images] for curve in curves] for images in common}
    return {images: (statistics.fmean(found), statistics.stdev(found) if len(found) > 1 else 0.0) for images, found in values.items()}


def band_drawing(score: str, title: str, arms: Mapping[str, Sequence[Curve]], *, better: Direction | None) -> Drawing:
    """Return the panel of one score; arms whose seeds share no point are left out.

    A distance that falls by a power of ten has a logarithmic axis, unless a band reaches 0.
    """
    found = {name: points for name, curves in arms.items() if (points := band(curves))}
    curves = {name: tuple((float(images), mean) for images, (mean, _) in points.items()) for name, points in found.items()}
    deviations = {name: tuple(deviation for _, deviation in points.values()) for name, points in found.items()}
    series = score_curves(score, title, score, curves, deviations, better=better)
    words = "; ".join(
        f"{name} {mean:.4g} ± {deviation_text(deviation)}" for name, (mean, deviation) in ((n, p[max(p)]) for n, p in found.items())
    )
    alt = f"Curves of {title} over images seen. At the end: {words}."
    return Drawing(
        f"curve-{score}.svg",
        curves_svg(series, label=alt, order=list(arms)),
        series.title,
        f"Mean over {max(len(curves) for curves in arms.values())} seeds; the band is one standard deviation. The legend has the last.",
        alt,
        shape="panel",
    )
