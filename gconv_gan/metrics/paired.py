"""Two methods measured on the same seeds: is one better?

The differences within a seed are compared, since what a seed decides (initial weights, order, noise) moves both alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

RESAMPLES = 10_000


@dataclass(frozen=True)
class PairedDifference:
    """Differences, first minus second, of n pairs."""

    differences: tuple[float, ...]
    """Of the single pairs, in their order."""
    n: int
    mean: float
    deviation: float
    """Standard deviation of the differences, n - 1 in the denominator."""
    t: float
    """mean / (deviation / √n), of the differences plus the margin."""
    p: float
    """One-sided: the chance of so large a t if the true difference were minus the margin."""
    low: float
    """2.5 % percentile of the mean over bootstrap resamples of the pairs."""
    high: float
    """97.5 % percentile."""


def paired_difference(first: Sequence[float], second: Sequence[float], *, margin: float = 0.0) -> PairedDifference:
    """Return the one-sided paired t-test of "the first is greater than the second minus the ``margin``", and a bootstrap interval.

    The interval is the percentile interval over 10,000 resamples from a fixed seed. Of three pairs it is coarse: there are
    only ten different means, all within the range of the differences. Differences that are all equal have no deviation: p is 0
    where they exceed minus the margin, else 1.

    Raises:
        ValueError: for unequal lengths, or fewer than two pairs.

    """
    if len(first) != len(second):
        raise ValueError(f"pairs need equal lengths, not {len(first)} and {len(second)}")
    if len(first) < 2:
        raise ValueError("a paired test needs at least two pairs")
    differences = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    n, mean, deviation = len(differences), float(differences.mean()), float(differences.std(ddof=1))
    shifted = mean + margin
    # identical differences leave rounding errors as deviation
    if deviation <= 1e-12 * max(1.0, abs(mean)):
        t, p = (float(np.inf), 0.0) if shifted > 0 else (float(-np.inf) if shifted < 0 else 0.0, 1.0)
    else:
        t = shifted / (deviation / n**0.5)
        p = float(stats.t.sf(t, n - 1))
    drawn = np.random.default_rng(0).integers(n, size=(RESAMPLES, n))
    low, high = np.percentile(differences[drawn].mean(1), [2.5, 97.5])
    return PairedDifference(tuple(differences.tolist()), n, mean, deviation, t, p, float(low), float(high))
