"""Quantities over the batch size, which is on a logarithmic axis."""

import statistics
from collections.abc import Mapping, Sequence

from gconv_gan.gallery.pictures.curves.curves_svg import curves_svg
from gconv_gan.gallery.pictures.curves.history import Series, spans_decade


def batch_curves(curves: Mapping[str, Mapping[int, Sequence[float]]], *, title: str) -> bytes:
    """Return an SVG: the mean over seeds of each quantity as a line, and a band of one standard deviation.

    Args:
        curves: quantity -> batch size -> a value for each seed that has one.
        title: description of the picture for screen readers.

    """
    found = {name: {size: each for size, each in values.items() if each} for name, values in curves.items()}
    means = {name: tuple((float(size), statistics.fmean(each)) for size, each in values.items()) for name, values in found.items()}
    deviations = {
        name: tuple(statistics.stdev(each) if len(each) > 1 else 0.0 for each in values.values()) for name, values in found.items()
    }
    above_0 = all(mean > wide for name in means for (_, mean), wide in zip(means[name], deviations[name], strict=True))
    series = Series("batch", title, means, above_0 and spans_decade(means), across="batch size", log_across=True, deviations=deviations)
    return curves_svg(series, label=title)
