"""Tests of the difference between two methods that were measured on the same seeds.

The tests use the differences within each seed, since a seed's initial weights, order and noise affect both methods alike.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import stats

LEVEL = 0.05
"""A difference is decided if its p-value is at most this."""
RESAMPLES = 10_000
EXACT = 20
"""Largest number of pairs for which all signs are tried."""
DRAWN = 100_000
"""Random choices of signs for more pairs."""


@dataclass(frozen=True)
class PairedTest:
    """Differences of n pairs, first minus second, and the tests of their mean against 0."""

    differences: tuple[float, ...]
    """Difference of each pair, in their order."""

    @property
    def n(self) -> int:
        """Return the number of pairs."""
        return len(self.differences)

    @cached_property
    def mean(self) -> float:
        """Return the mean difference."""
        return float(np.mean(self.differences))

    @cached_property
    def deviation(self) -> float:
        """Return the standard deviation of the differences, n - 1 in the denominator; 0 if it is below the rounding errors of the mean."""
        found = float(np.std(self.differences, ddof=1))
        return 0.0 if found <= 1e-12 * max(1.0, abs(self.mean)) else found

    def t(self, margin: float = 0.0) -> float:
        """Return (mean + margin) / (deviation / √n); infinite, or 0, if all differences are equal."""
        shifted = self.mean + margin
        if not self.deviation:
            return float(np.copysign(np.inf, shifted)) if shifted else 0.0
        return float(shifted / (self.deviation / self.n**0.5))

    def p_greater(self, margin: float = 0.0) -> float:
        """Return the one-sided p-value of the t-test: probability of a t at least as large if the true difference is minus the margin.

        If all differences are equal, it is 0 if they exceed minus the margin, else 1.
        """
        if not self.deviation:
            return 0.0 if self.mean + margin > 0 else 1.0
        return float(stats.t.sf(self.t(margin), self.n - 1))

    @property
    def p(self) -> float:
        """Return the two-sided p-value of the t-test."""
        return float(2 * stats.t.sf(abs(self.t()), self.n - 1))

    @property
    def interval(self) -> tuple[float, float]:
        """Return the 95 % interval of the t-test: the mean ± the 97.5 % quantile of t · deviation / √n."""
        half = float(stats.t.ppf(0.975, self.n - 1)) * self.deviation / self.n**0.5
        return self.mean - half, self.mean + half

    @cached_property
    def bootstrap(self) -> tuple[float, float]:
        """Return the 2.5 % and 97.5 % percentiles of the mean over 10,000 resamples of the pairs, drawn with a fixed seed.

        For three pairs the interval is coarse: there are only ten different means, all within the range of the differences.
        """
        drawn = np.random.default_rng(0).integers(self.n, size=(RESAMPLES, self.n))
        low, high = np.percentile(np.asarray(self.differences)[drawn].mean(1), [2.5, 97.5])
        return float(low), float(high)

    @cached_property
    def p_signs(self) -> float:
        """Return the p-value of the permutation test: the share of choices of signs with a mean at least as far from 0.

        All 2ⁿ choices are tried up to n = 20, so that it is at least 2 / 2ⁿ; else 100,000 choices are drawn with a fixed seed, and the
        differences' own signs are counted as one more.
        """
        found = np.asarray(self.differences)
        least = abs(found.sum()) - 1e-12 * np.abs(found).sum()  # rounding errors of the sums
        if self.n > EXACT:
            signs = np.random.default_rng(0).choice((-1.0, 1.0), size=(DRAWN, self.n))
            return float(((np.abs(signs @ found) >= least).sum() + 1) / (DRAWN + 1))
        sums = np.zeros(1)
        for one in found:
            sums = np.concatenate((sums + one, sums - one))
        return float((np.abs(sums) >= least).mean())


def paired_test(differences: Sequence[float]) -> PairedTest:
    """Return the tests of at least two differences; raise ``ValueError`` for fewer."""
    if len(differences) < 2:
        raise ValueError(f"a paired test needs at least two pairs, not {len(differences)}")
    return PairedTest(tuple(float(one) for one in differences))


def least_p_signs(n: int) -> float:
    """Return the smallest p-value that the permutation test can give for n pairs."""
    return 2 / 2**n if n <= EXACT else 1 / (DRAWN + 1)


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

    def reached(n: int) -> bool:
        threshold = stats.t.ppf(1 - level / 2, n - 1)
        noncentral = abs(effect) * n**0.5
        return bool(stats.nct.sf(threshold, n - 1, noncentral) + stats.nct.cdf(-threshold, n - 1, noncentral) >= power)

    enough = next((n for n in (2**k for k in range(1, most.bit_length() + 1)) if reached(n)), most)
    found = bisect_left(range(most + 1), True, lo=max(2, enough // 2), hi=min(enough, most), key=reached)  # the power grows with n
    return found if reached(found) else None
