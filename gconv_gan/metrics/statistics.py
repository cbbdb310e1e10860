"""Mean and covariance of a stream of features, in float64, mergeable over batches and processes.

The sums are of x - c for a fixed shift c near the mean; without it the covariance would be a small difference of large
numbers. Chan, Golub, LeVeque, "Algorithms for Computing the Sample Variance", The American Statistician 37 (1983), section 4.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """The number of samples, their mean [d] and their covariance [d, d] (divisor count - 1), in float64."""

    count: int | None
    """Number of samples; None if it is not known (another tool's file)."""
    mean: Float64[Tensor, " d"]
    covariance: Float64[Tensor, "d d"]


class StreamingMoments:
    r"""Accumulates n, :math:`S_1 = \sum (x - c)` and :math:`S_2 = \sum (x - c)(x - c)^\top` of features x [n, d].

    With :math:`m = S_1 / n` the mean is :math:`c + m` and the covariance :math:`(S_2 - n\,m m^\top) / (n - 1)`.

    Args:
        dim: number of features d.
        shift: c [d], equal in all sums that are merged; a value near the mean, such as the reference's, avoids cancellation.
            None: zero.
        device: device of the sums.

    """

    def __init__(self, dim: int, *, shift: Float[Tensor, " d"] | None = None, device: torch.device | str = "cpu") -> None:
        self.count = 0
        self.shift = torch.zeros(dim, dtype=torch.float64, device=device) if shift is None else shift.to(device, torch.float64)
        if self.shift.shape != (dim,):
            raise ValueError(f"the shift has shape {tuple(self.shift.shape)}, but the features have {dim} columns")
        self.first = torch.zeros(dim, dtype=torch.float64, device=device)
        self.second = torch.zeros(dim, dim, dtype=torch.float64, device=device)

    def update(self, features: Float[Tensor, "n d"]) -> None:
        """Add the rows of ``features`` [n, d]; raise ``ValueError`` if the number of columns differs."""
        if features.shape[1] != self.shift.numel():
            raise ValueError(f"features have {features.shape[1]} columns, the statistics {self.shift.numel()}")
        centred = features.to(self.shift) - self.shift
        self.count += len(features)
        self.first += centred.sum(0)
        self.second.addmm_(centred.T, centred)

    def copy(self) -> "StreamingMoments":
        """Return an independent copy of the sums."""
        other = StreamingMoments(self.shift.numel(), shift=self.shift, device=self.shift.device)
        other.count, other.first, other.second = self.count, self.first.clone(), self.second.clone()
        return other

    def result(self) -> Moments:
        """Return the moments of everything added so far; raise ``ValueError`` for fewer than two samples."""
        if self.count < 2:
            raise ValueError(f"a covariance needs at least two samples, got {self.count}")
        mean = self.first / self.count
        covariance = (self.second - self.count * torch.outer(mean, mean)) / (self.count - 1)
        return Moments(self.count, self.shift + mean, (covariance + covariance.T) / 2)


def moments_of(features: Float[Tensor, "n d"]) -> Moments:
    """Return the moments of ``features`` [n, d], shifted by their own mean (two passes)."""
    stream = StreamingMoments(features.shape[1], shift=features.double().mean(0), device=features.device)
    stream.update(features)
    return stream.result()
