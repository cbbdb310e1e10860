r"""Geometry of a reference set in an extractor's features: what a score of a perfect generator would be, and how dispersed the set is.

"Reference geometry" explains how scores move, it is no verdict: on concentrated sets Fréchet distances fall as samples improve, on
dispersed ones they may rise (arXiv 2605.29335, 2026). With eigenvalues :math:`\lambda` of the covariance :math:`\Sigma` of n images and
:math:`r_k(y)` the distance of y to its k-th nearest other image:

- bias constant of the Fréchet distance: n Gaussian samples against their exact moments score b/n on average, n > d,

  .. math:: b = \mathrm{tr}\,\Sigma + \sum_{ij}\frac{\lambda_i\lambda_j(1 + \delta_{ij})}{2(\lambda_i + \lambda_j)},

  and two samples of m and n score b(1/m + 1/n); for isotropic covariances b = tr Σ (1 + (d + 1)/4) (our derivation, to first order);
- effective rank :math:`\exp(-\sum p\log p)` of :math:`p = \sqrt\lambda/\sum\sqrt\lambda` (Roy, Vetterli, "The effective rank", EUSIPCO
  2007, of the singular values of the centred features), and of :math:`p = \lambda/\sum\lambda`;
- participation ratio :math:`(\sum\lambda)^2/\sum\lambda^2`;
- density :math:`\mathrm{mean}_y - \log r_5(y)`;
- intrinsic dimension by maximum likelihood, :math:`1/\mathrm{mean}_y[\frac1{k-1}\sum_{j<k}\log(r_k/r_j)]` with k = 10 (Levina, Bickel,
  NeurIPS 2004, averaged as by MacKay and Ghahramani), and by two neighbours, :math:`(n-1)/\sum_y\log(r_2/r_1)` (Facco, d'Errico, Rodriguez,
  Laio, arXiv 1803.06992). Both are too low above ten dimensions.
"""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from gconv_gan.config.base import Config
from gconv_gan.metrics.neighbours import nearest_rows
from gconv_gan.metrics.statistics import Moments
from gconv_gan.runtime.random import Stream

SAMPLE = 10_000  # images whose neighbours are searched: density depends on their number
DENSITY_NEIGHBOUR = 5
DIMENSION_NEIGHBOURS = 10
ENOUGH = 10  # images per feature below which effective ranks are too low


class ReferenceGeometry(Config):
    """Bias constant, effective ranks, and, of references with features, density and intrinsic dimensions."""

    features: int
    """Width d of the features."""
    frechet_bias: float | None
    """b: a perfect generator's m fakes against n reals have a Fréchet distance of about b (1/m + 1/n). None: d reals or fewer."""
    effective_rank: float
    """Of the singular values of the centred features."""
    effective_rank_of_covariance: float
    """Of the eigenvalues of their covariance."""
    participation: float
    """Participation ratio of those eigenvalues."""
    ranks_are_low: bool
    """Whether there are fewer than ten images per feature (or an unknown number), so that the ranks are too low."""
    sampled: int | None = None
    """Images whose nearest neighbours were searched; None: the statistics hold no features."""
    duplicates: int | None = None
    """Those of them with an exact duplicate in features, left out of what follows."""
    density: float | None = None
    """Mean of minus log of the distance to the 5th neighbour."""
    dimension: float | None = None
    """Intrinsic dimension by maximum likelihood, 10 neighbours."""
    dimension_of_two: float | None = None
    """Intrinsic dimension by the two nearest neighbours."""

    def frechet_floor(self, num_fake: int, num_real: int | None) -> float | None:
        """Return the Fréchet distance that a perfect generator would have on average; None where it is not known."""
        if self.frechet_bias is None or num_real is None or min(num_fake, num_real) <= self.features:
            return None
        return self.frechet_bias * (1 / num_fake + 1 / num_real)

    def lines(self) -> list[str]:
        """Return the numbers as text."""
        low = ", too low by few images" if self.ranks_are_low else ""
        lines = [f"reference: effective rank {self.effective_rank:.4g} of {self.features} features{low}"]
        if self.density is not None:
            lines.append(
                f"reference: intrinsic dimension {self.dimension:.3g} (maximum likelihood), {self.dimension_of_two:.3g} (two neighbours); "
                f"density {self.density:.4g} ({self.sampled:,} images)"
            )
        if self.duplicates:
            lines.append(f"reference: {self.duplicates:,} of {self.sampled:,} images have an exact duplicate")
        return lines


def reference_geometry(moments: Moments, features: Float[Tensor, "n d"] | None) -> ReferenceGeometry | None:
    """Return the geometry of a reference; None if all its images have the same features.

    Args:
        moments: mean and covariance of its features.
        features: the features; None: only what the covariance tells.

    """
    values = torch.linalg.eigvalsh(moments.covariance).clamp(min=0)
    total = values.sum()
    if total == 0:
        return None
    roots = values.sqrt()
    count, width = moments.count, len(values)
    spectrum = {
        "features": width,
        "frechet_bias": None if count is None or count <= width else frechet_bias(values),
        "effective_rank": _effective_rank(roots / roots.sum()),
        "effective_rank_of_covariance": _effective_rank(values / total),
        "participation": float((total**2 / values.square().sum()).item()),
        "ranks_are_low": count is None or count < ENOUGH * width,
    }
    return ReferenceGeometry.model_validate(spectrum | ({} if features is None else _neighbour_geometry(features)))


def frechet_bias(eigenvalues: Float64[Tensor, " d"]) -> float:
    r"""Return :math:`b = \sum\lambda_i + \sum_{ij} \lambda_i\lambda_j(1+\delta_{ij}) / (2(\lambda_i+\lambda_j))`."""
    pairs = eigenvalues[:, None] + eigenvalues
    products = torch.outer(eigenvalues, eigenvalues) / (2 * pairs.where(pairs > 0, 1.0))
    return float((eigenvalues.sum() + products.sum() + products.diagonal().sum()).item())


def _effective_rank(shares: Float64[Tensor, " d"]) -> float:
    kept = shares[shares > 0]
    return float((-(kept * kept.log()).sum()).exp().item())


def _neighbour_geometry(features: Float[Tensor, "n d"]) -> dict[str, object]:
    """Return the fields that need the distances to the nearest neighbours; only the counts for too few distinct images."""
    count = len(features)
    if count > SAMPLE:
        chosen = Stream(0, "reference_geometry").permutation(0, count)[:SAMPLE].sort().values
        features = features[chosen.to(features.device)]
    sampled = len(features)
    fields: dict[str, object] = {"sampled": sampled}
    if sampled <= DIMENSION_NEIGHBOURS:
        return fields
    rows = torch.arange(sampled, device=features.device)
    radii = nearest_rows(features, features, k=DIMENSION_NEIGHBOURS, own_rows=rows).squared.sqrt()
    distinct = radii[radii[:, 0] > 0]
    fields["duplicates"] = sampled - len(distinct)
    if len(distinct) < 2:
        return fields
    logs = distinct.log()
    slopes = (logs[:, -1:] - logs[:, :-1]).mean(1).mean()
    ratios = logs[:, 1] - logs[:, 0]
    kept = ratios[ratios > 0]
    if slopes == 0 or not len(kept):
        return fields
    return fields | {
        "density": float(-logs[:, DENSITY_NEIGHBOUR - 1].mean().item()),
        "dimension": float(1 / slopes.item()),
        "dimension_of_two": float((len(kept) - 1) / kept.sum().item()),
    }
