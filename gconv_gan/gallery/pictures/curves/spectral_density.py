"""The density of a matrix's eigenvalues, on a logarithmic axis: most of them lie in one peak, the few that matter far from it."""

import numpy as np
from jaxtyping import Float64

from gconv_gan.gallery.pictures.curves.curves_svg import curves_svg
from gconv_gan.gallery.pictures.curves.history import Series
from gconv_gan.gallery.pictures.drawing import Drawing

DECADES = 7
"""Powers of ten below the peak that the axis shows."""


def density_drawing(eigenvalues: Float64[np.ndarray, " g"], density: Float64[np.ndarray, " g"], *, title: str, caption: str) -> Drawing:
    """Return the panel of a density over the eigenvalues."""
    floor = float(density.max()) * 10.0**-DECADES
    curve = tuple((float(x), max(float(value), floor)) for x, value in zip(eigenvalues, density, strict=True))
    series = Series("density", f"{title}, log scale", {"density": curve}, log_scale=True, across="eigenvalue")
    alt = f"{title}: highest at {float(eigenvalues[density.argmax()]):.3g}, from {curve[0][0]:.3g} to {curve[-1][0]:.3g}."
    return Drawing("density.svg", curves_svg(series, label=alt), series.title, caption, alt, shape="panel")
