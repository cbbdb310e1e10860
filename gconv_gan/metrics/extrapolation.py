r"""FID∞: the Fréchet distance extrapolated to infinitely many fakes.

Chong and Forsyth, "Effectively Unbiased FID and Inception Score and where to find them", arXiv 1911.07023 (2020), section 4:
the distance of n fakes exceeds its limit by c/n to first order, with a c that depends on the generator. It is computed on
random subsets of several sizes, and the line

.. math:: d^2(n) = a + b / n

is fitted by least squares; a is the score. As in the official code there are 15 sizes, evenly spaced from a tenth of the fakes to
all of them. The set of reals is fixed, so the bias due to their number remains.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from gconv_gan.metrics.frechet import frechet_distance_of_features
from gconv_gan.metrics.statistics import Moments
from gconv_gan.runtime.random import Stream


@dataclass(frozen=True)
class Extrapolation:
    """The limit a, the slope b, and the distances they were fitted to."""

    value: float
    slope: float
    distances: tuple[float, ...]


def counts_to_fit(num_fake: int, *, points: int = 15) -> tuple[int, ...]:
    """Return ``points`` sizes, evenly spaced from a tenth of ``num_fake`` to all."""
    return tuple(int(size) for size in torch.linspace(num_fake / 10, num_fake, points, dtype=torch.float64).floor().tolist())


def fid_infinity(
    fake: Float[Tensor, "m d"], real: Moments, *, counts: Sequence[int], seed: int, real_root: Float64[Tensor, "d d"] | None = None
) -> Extrapolation:
    """Return the extrapolation of the distance of ``fake`` from ``real``.

    Args:
        fake: features [m, d].
        real: moments of the reference.
        counts: sizes of the subsets; subset i is a random choice by (seed, "fid_infinity", i).
        seed: seed of the random choices.
        real_root: root of the reference's covariance, if it is known.

    Raises:
        ValueError: for fewer than two different sizes, one below two or above m, or features that are not finite.

    """
    if len(set(counts)) < 2 or not 2 <= min(counts) <= max(counts) <= len(fake):
        raise ValueError(f"cannot fit a line to subsets of {tuple(counts)} of {len(fake)} images")
    distances = []
    for index, count in enumerate(counts):
        chosen = Stream(seed, "fid_infinity").permutation(index, len(fake), device=fake.device)[:count]
        distances.append(frechet_distance_of_features(fake[chosen], real, real_root=real_root))
    x, y = 1 / torch.tensor(counts, dtype=torch.float64), torch.tensor(distances, dtype=torch.float64)
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    return Extrapolation(float(y.mean() - slope * x.mean()), float(slope), tuple(distances))
