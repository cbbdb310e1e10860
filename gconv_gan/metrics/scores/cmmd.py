r"""CLIP Maximum Mean Discrepancy: the squared MMD of a Gaussian kernel between normalised features.

Paper: Jayasumana, Ramalingam, Veit, Glasner, Chakrabarti, Kumar, "Rethinking FID: Towards a Better Evaluation Metric for Image
Generation", arXiv 2401.09603 (2024). With features of length 1 and

.. math:: k(x, y) = \exp\Big(-\frac{|x - y|^2}{2\sigma^2}\Big), \qquad \sigma = 10,

CMMD is 1000 times the squared MMD of all pairs. On the unit sphere the exponent is at most 0.02, so the kernel is almost linear, and
CMMD is almost 1000 |E x - E y|² / σ²: it compares the means of the normalised features and sees hardly anything else. The published
code keeps the pairs of an image with itself (``cmmd_biased``), which adds 1000 (1 - E k)(1/m + 1/n).
"""

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64
from torch import Tensor

from gconv_gan.metrics.metric import CardLine, Evaluation, Metric, Numbers, Seen

SIGMA = 10.0
SCALE = 1000


class Discrepancy(NamedTuple):
    """Two estimates of a squared MMD: without and with the pairs of an image with itself."""

    unbiased: float
    biased: float


def _kernel_sum(x: Float64[Tensor, "m d"], y: Float64[Tensor, "n d"], sigma: float, tile: int) -> Float64[Tensor, ""]:
    norms = y.square().sum(1)
    parts = [
        torch.addmm(rows.square().sum(1)[:, None] + norms, rows, y.T, alpha=-2).clamp_(min=0).div_(-2 * sigma**2).exp_().sum()
        for rows in torch.split(x, tile)
    ]
    return torch.stack(parts).sum()


def gaussian_mmd2(fake: Float[Tensor, "m d"], real: Float[Tensor, "n d"], *, sigma: float = SIGMA, tile: int = 1024) -> Discrepancy:
    r"""Return the squared MMD of the Gaussian kernel over all pairs, in float64 and O(tile·n) memory.

    .. math:: \frac{\sum_{i\ne j}k(x_i,x_j)}{m(m-1)} + \frac{\sum_{i\ne j}k(y_i,y_j)}{n(n-1)} - \frac{2\sum_{ij}k(x_i,y_j)}{mn}

    and the same with the diagonals, divided by m² and n². The features are taken as they are.

    Raises:
        ValueError: for sets of fewer than two rows, or features that are not finite.

    """
    m, n = len(fake), len(real)
    if min(m, n) < 2:
        raise ValueError(f"need two sets of at least two rows, got {m} and {n}")
    if not (torch.isfinite(fake).all() and torch.isfinite(real).all()):
        raise ValueError("features are not finite")
    x, y = fake.double(), real.double()
    within_x, within_y, cross = (_kernel_sum(a, b, sigma, tile).item() for a, b in ((x, x), (y, y), (x, y)))
    between = 2 * cross / (m * n)
    return Discrepancy(
        unbiased=(within_x - m) / (m * (m - 1)) + (within_y - n) / (n * (n - 1)) - between,
        biased=within_x / m**2 + within_y / n**2 - between,
    )


class GaussianDiscrepancy(Metric):
    """Squared MMD of a Gaussian kernel (σ = 10, times 1000) of normalised features: cmmd in CLIP's features, mmd in others."""

    needs_real_features: ClassVar[bool] = True
    lower_is_better: ClassVar[tuple[str, ...]] = ("cmmd", "cmmd_biased", "mmd", "mmd_biased")

    def card(self, one: Evaluation) -> Mapping[str, CardLine]:
        """Return the kernel, the scale, and the length of the features."""
        return {"kernel": f"exp(-|x - y|^2 / (2 * {SIGMA:g}^2))", "scale": SCALE, "features": "divided by their norm"}

    def numbers(self, seen: Seen) -> Numbers:
        """Return cmmd and cmmd_biased, or mmd and mmd_biased."""
        key = "cmmd" if seen.evaluation.extractor.layer == "clip" else "mmd"
        found = gaussian_mmd2(*(F.normalize(rows.double(), dim=1) for rows in (seen.fake, seen.real)))
        return Numbers({key: SCALE * found.unbiased, f"{key}_biased": SCALE * found.biased})
