r"""Monge Inception Distance: the sliced 2-Wasserstein distance of features.

Paper: Berthet et al., "MIND: Monge Inception Distance for Generative Models Evaluation", arXiv 2605.06797 (2026). With unit vectors
:math:`u_1 \dots u_M` in :math:`\mathbb{R}^d` and sets X and Y of n images each,

.. math:: \mathrm{MIND} = \frac{3d}{nM} \sum_{i=1}^{M} \sum_{j=1}^{n} \big(\mathrm{sort}(X u_i)_j - \mathrm{sort}(Y u_i)_j\big)^2 .

Directions, and the cut of a larger set, are drawn as by torch-fidelity after 0.4.0, so that equal features give its number (it computes
in float32, this file in float64). Between two Gaussians the expectation of the sum is
:math:`3|\mu_1-\mu_2|^2 + 3d\,\mathrm{E}_u(\sqrt{u^\top\Sigma_1u} - \sqrt{u^\top\Sigma_2u})^2`, for isotropic ones three times the
Fréchet distance. A finite n adds about 20 tr Σ / n, whatever the width of the features.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from gconv_gan.metrics.metric import CardLine, Evaluation, Metric, Numbers, Seen

PROJECTIONS = 1000
SEED = 2020
LEAST = 4  # images, whose halves have two each
# Directions projected at once; bounds the memory, and changes no number.
DIRECTIONS_AT_ONCE = 128


def sliced_distance(x: Float[Tensor, "n d"], y: Float[Tensor, "n d"], directions: Float[Tensor, "p d"]) -> float:
    r"""Return :math:`\frac{3d}{nM}\sum_{ij}(\mathrm{sort}(Xu_i)_j - \mathrm{sort}(Yu_i)_j)^2` for equally many rows, in float64.

    Raises:
        ValueError: values are not finite.

    """
    if not (torch.isfinite(x).all() and torch.isfinite(y).all()):
        raise ValueError("features are not finite")
    first, second = x.double(), y.double()
    sums = []
    for part in torch.split(directions.to(first), DIRECTIONS_AT_ONCE):
        sums.append(((part @ first.T).sort(1).values - (part @ second.T).sort(1).values).square().mean(1))
    return float(3 * x.shape[1] * torch.cat(sums).mean().item())


def unit_vectors(count: int, dim: int, generator: torch.Generator) -> Float64[Tensor, "p d"]:
    """Return ``count`` directions: rows of normal numbers in float32, divided by their norm, in float64."""
    rows = torch.randn(count, dim, generator=generator, dtype=torch.float32)
    directions: Tensor = rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True).clamp_min(1e-12)
    return directions.double()


def mind(
    fake: Float[Tensor, "m d"], real: Float[Tensor, "n d"], *, projections: int = PROJECTIONS, seed: int = SEED
) -> tuple[float, float]:
    r"""Return the distance, and the distance without most of its bias.

    The bias of n images is estimated by the distances between random halves of each set:
    :math:`\mathrm{MIND}(X, Y) - \frac14(\mathrm{MIND}(X_1, X_2) + \mathrm{MIND}(Y_1, Y_2))`, since the halves have n/2 images, twice the
    bias (our correction, not the paper's; for an odd n the factor is ⌊n/2⌋/(2n)). It may be negative.

    Args:
        fake: features [m, d].
        real: features [n, d]; of the larger set, min(m, n) rows are chosen at random.
        projections: number of directions M. For two sets that differ by a shift the relative standard deviation over directions is about
            √(2/M): 4.5 % for 1000.
        seed: seed of the choice of rows and of the directions.

    Raises:
        ValueError: a set has fewer than four images, or features are not finite.

    """
    count = min(len(fake), len(real))
    if count < LEAST:
        raise ValueError(f"need two sets of at least {LEAST} images, got {len(fake)} and {len(real)}")
    draw = torch.Generator().manual_seed(seed)
    x, y = (_cut(rows, count, draw) for rows in (fake, real))
    directions = unit_vectors(projections, x.shape[1], draw).to(x.device)
    distance = sliced_distance(x, y, directions)
    order = torch.randperm(count, generator=draw).to(x.device)
    half = count // 2
    halves = [sliced_distance(rows[order[:half]], rows[order[half : 2 * half]], directions) for rows in (x, y)]
    return distance, distance - (half / count) * sum(halves) / 2


def _cut(rows: Float[Tensor, "n d"], count: int, draw: torch.Generator) -> Float[Tensor, "m d"]:
    """Return ``count`` rows, chosen at random if there are more."""
    return rows if len(rows) == count else rows[torch.randperm(len(rows), generator=draw)[:count].to(rows.device)]


class MongeDistance(Metric):
    """Monge Inception Distance (sliced 2-Wasserstein): mind in Inception's features, monge_distance in others; raw and debiased."""

    needs_real_features: ClassVar[bool] = True
    lower_is_better: ClassVar[tuple[str, ...]] = ("mind", "mind_debiased", "monge_distance", "monge_distance_debiased")

    def least(self, protocol: object) -> int:
        """Return the number of images whose halves have two each."""
        return LEAST

    def card(self, one: Evaluation) -> Mapping[str, CardLine]:
        """Return the number and seed of the directions, and the number of images compared."""
        return {"projections": PROJECTIONS, "seed": SEED, "images": min(one.num_fake, one.num_real or one.num_fake)}

    def numbers(self, seen: Seen) -> Numbers:
        """Return mind and mind_debiased, or monge_distance and monge_distance_debiased."""
        key = "mind" if seen.evaluation.extractor.is_inception else "monge_distance"
        distance, debiased = mind(seen.fake, seen.real)
        return Numbers({key: distance, f"{key}_debiased": debiased})
