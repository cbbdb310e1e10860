"""Tests of the difference between two methods that were measured on the same seeds.

The tests use the differences within each seed, since a seed's initial weights, order and noise affect both methods alike.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

RESAMPLES = 10_000


@dataclass(frozen=True)
class PairedDifference:
    """Differences, first minus second, of n pairs."""

    differences: tuple[float, ...]
    """Difference of each pair, in their order."""
    n: int
    mean: float
    deviation: float
    """Standard deviation of the differences, n - 1 in the denominator."""
    t: float
    """mean / (deviation / √n), of the differences plus the margin."""
    p: float
    """One-sided p-value: probability of a t at least as large if the true difference is minus the margin."""
    low: float
    """2.5 % percentile of the mean over bootstrap resamples of the pairs."""
    high: float
    """97.5 % percentile."""


def paired_difference(first: Sequence[float], second: Sequence[float], *, margin: float = 0.0) -> PairedDifference:
    """Return the one-sided paired t-test of "the first is greater than the second minus the ``margin``", and a bootstrap interval.

    The interval is the percentile interval over 10,000 resamples from a fixed seed. For three pairs it is coarse: there are
    only ten different means, all within the range of the differences. If all differences are equal, the deviation is 0, and p is 0
    if they exceed minus the margin, else 1.

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


@dataclass(frozen=True)
class PairedTest:
    """Differences of n pairs, first minus second, tested against 0 from both sides."""

    differences: tuple[float, ...]
    mean: float
    deviation: float
    """Standard deviation of the differences, n - 1 in the denominator."""
    interval: tuple[float, float]
    """The mean ± the 97.5 % quantile of t · deviation / √n."""
    p: float
    """p-value of the paired t-test."""
    p_signs: float
    """p-value of the exact permutation test: share of all 2ⁿ choices of signs with a mean at least as far from 0; at least 2 / 2ⁿ."""


def paired_test(differences: Sequence[float]) -> PairedTest:
    """Return the two-sided paired t-test with its 95 % interval, and the exact permutation test by signs, of two to 20 differences.

    Raises:
        ValueError: for fewer differences, or more.

    """
    found = np.asarray(differences, dtype=np.float64)
    n = len(found)
    if not 2 <= n <= 20:
        raise ValueError(f"a paired test needs 2 to 20 pairs, not {n}")
    mean, deviation = float(found.mean()), float(found.std(ddof=1))
    half = float(stats.t.ppf(0.975, n - 1)) * deviation / n**0.5
    if deviation <= 1e-12 * max(1.0, abs(mean)):
        p = 1.0 if mean == 0 else 0.0
    else:
        p = float(2 * stats.t.sf(abs(mean) / (deviation / n**0.5), n - 1))
    signs = np.array(list(itertools.product((1.0, -1.0), repeat=n)))
    means = np.abs(signs @ found) / n
    p_signs = float((means >= abs(mean) * (1 - 1e-12)).mean())
    return PairedTest(tuple(found.tolist()), mean, deviation, (mean - half, mean + half), p, p_signs)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number (Holm, Scandinavian Journal of Statistics 6, 1979), in the order given."""
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def pairs_needed(effect: float, *, power: float = 0.8, level: float = 0.05, most: int = 10_000) -> int | None:
    """Return how many pairs a two-sided paired t-test needs to detect a mean of ``effect`` standard deviations; None: over ``most``."""
    for n in range(2, most + 1):
        threshold = stats.t.ppf(1 - level / 2, n - 1)
        noncentral = abs(effect) * n**0.5
        if stats.nct.sf(threshold, n - 1, noncentral) + stats.nct.cdf(-threshold, n - 1, noncentral) >= power:
            return n
    return None
