r"""Clipped Density and Clipped Coverage: shares of good samples and of covered reals, robust to outliers of both sets.

Paper: Salvy, Talbot, Thirion, "Enhanced Generative Model Evaluation with Clipped Density and Coverage", arXiv 2507.01761 (2025). With N
reals y, M fakes x, K = 5 and :math:`r(y)` the distance of y to its K-th nearest other real:

- a ball of radius :math:`\rho(y) = \min(r(y), \mathrm{median}\,r)` about every real; a fake in c(x) balls counts as
  :math:`\min(c(x)/K, 1)`, and Clipped Density is the mean over the fakes, divided by the same mean over the reals (each without its own
  ball), at most 1;
- b is the mean over the reals of :math:`\min(\#\{x : |x - y| < r(y)\}, K) / K`, and Clipped Coverage is g(b), where g inverts

.. math:: f(j) = \frac1K \mathrm{E} \min(J, K), \qquad J \sim \mathrm{BetaBinomial}(j, K, N - K),

the expectation of b if only j of the M fakes are good. So both read as shares: 0.7 is as good as 70 % good samples and 30 % bad ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from gconv_gan.metrics.metric import CardLine, Evaluation, Metric, Numbers, Seen
from gconv_gan.metrics.neighbours import Balls, ball_counts, squared_radii

NEIGHBOURS = 5


@dataclass(frozen=True)
class Clipped:
    """Clipped Density, without and with its limit of 1, and Clipped Coverage."""

    density_raw: float
    coverage: float

    @property
    def density(self) -> float:
        """Return Clipped Density: the ratio, at most 1."""
        return min(self.density_raw, 1.0)


def expected_coverage(good: int, *, num_real: int, k: int) -> float:
    r"""Return f(``good``): the expectation of :math:`\min(J, K)/K` for BetaBinomial(good, K, N - K), a sum of K terms.

    .. math:: f(j) = 1 - \frac1K \sum_{i<K} (K - i) P(J = i), \quad P(J=0) = \prod_{s<K} \frac{N-K+s}{N-K+j+s}, \quad
        \frac{P(J=i+1)}{P(J=i)} = \frac{(j-i)(K+i)}{(i+1)(N+j-K-i-1)} .
    """
    probability = 1.0
    for s in range(k):
        probability *= (num_real - k + s) / (num_real - k + good + s)
    missing = k * probability
    for i in range(min(k - 1, good)):
        probability *= (good - i) * (k + i) / ((i + 1) * (num_real + good - k - i - 1))
        missing += (k - i - 1) * probability
    return 1 - missing / k


def calibrated_coverage(share: float, *, num_fake: int, num_real: int, k: int) -> float:
    """Return g(``share``): the least j with f(j) ≥ share, divided by M + 1; 1 if even M good fakes would give less."""
    low, high = 0, num_fake + 1  # f(high) ≥ share, where f(M + 1) counts as 1
    while low < high:
        middle = (low + high) // 2
        if expected_coverage(middle, num_real=num_real, k=k) >= share:
            high = middle
        else:
            low = middle + 1
    return low / (num_fake + 1)


def _clipped_mean(counts: Int[Tensor, " n"], k: int) -> float:
    """Return the mean of min(count, k) / k, an exact quotient of integers."""
    return int(counts.clamp(max=k).sum().item()) / (k * len(counts))


def clipped_scores(
    fake: Float[Tensor, "m d"],
    real: Float[Tensor, "n d"],
    *,
    k: int = NEIGHBOURS,
    real_radii: Float64[Tensor, " n"] | None = None,
    tile: int = 2048,
) -> Clipped:
    """Return Clipped Density and Clipped Coverage of ``fake`` against ``real``.

    Args:
        fake: features [m, d].
        real: features [n, d], n > k.
        k: number of the neighbour.
        real_radii: ``squared_radii(real, k=k)``, if they are known.
        tile: rows and columns of distances in memory at once.

    Raises:
        ValueError: there are k reals or fewer, features are not finite, or no real lies in a ball of another.

    """
    radii = squared_radii(real, k=k, tile=tile) if real_radii is None else real_radii
    if not torch.isfinite(fake).all():
        raise ValueError("features are not finite")
    clipped = Balls(radii.clamp(max=_median(radii.sqrt()) ** 2), "<=")
    [own] = ball_counts(real, real, [clipped], tile=tile)
    among_reals = _clipped_mean(own.of_points - 1, k)  # a real lies in its own ball
    if among_reals == 0:
        raise ValueError("no real image lies near another one, so there is no Clipped Density")
    near, covered = ball_counts(fake, real, [clipped, Balls(radii, "<")], tile=tile)
    share = _clipped_mean(covered.of_balls, k)
    return Clipped(
        density_raw=_clipped_mean(near.of_points, k) / among_reals,
        coverage=calibrated_coverage(share, num_fake=len(fake), num_real=len(real), k=k),
    )


def _median(values: Float64[Tensor, " n"]) -> float:
    """Return the median; of an even number of values the middle of the two."""
    ordered = values.sort().values
    return float((ordered[(len(values) - 1) // 2] + ordered[len(values) // 2]).item() / 2)


class ClippedDensityCoverage(Metric):
    """Clipped Density and Clipped Coverage: shares of good samples and of covered reals, robust to outliers."""

    needs_real_features: ClassVar[bool] = True

    def least(self, protocol: object) -> int:
        """Return an image and its neighbours."""
        return NEIGHBOURS + 1

    def card(self, one: Evaluation) -> Mapping[str, CardLine]:
        """Return the number of neighbours."""
        return {"neighbours": NEIGHBOURS}

    def numbers(self, seen: Seen) -> Numbers:
        """Return clipped_density, clipped_density_raw (not limited to 1) and clipped_coverage."""
        one = seen.evaluation
        radii = one.reference.squared_radii(NEIGHBOURS, one.extractor.device)
        found = clipped_scores(seen.fake, seen.real, real_radii=radii)
        return Numbers({"clipped_density": found.density, "clipped_density_raw": found.density_raw, "clipped_coverage": found.coverage})
