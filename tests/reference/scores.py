"""Slow float64 references of the scores, written from their definitions."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]


def frechet_product(x: Tensor, y: Tensor) -> float:
    """The definition: the roots of the eigenvalues of S1 S2 by a general eigensolver, nothing dropped."""
    a, b = torch.cov(x.T), torch.cov(y.T)
    roots = torch.linalg.eigvals(a @ b).sqrt().real.sum()
    return float((x.mean(0) - y.mean(0)).square().sum() + a.trace() + b.trace() - 2 * roots)


def frechet_nuclear(x: Tensor, y: Tensor) -> float:
    """tr (S1 S2)^(1/2) as the sum of the singular values of A1 A2', from centred and scaled rows: no root of round-off."""
    a, b = ((s - s.mean(0)) / (len(s) - 1) ** 0.5 for s in (x, y))
    nuclear = torch.linalg.svdvals(a @ b.T).sum()
    return float((x.mean(0) - y.mean(0)).square().sum() + a.square().sum() + b.square().sum() - 2 * nuclear)


def mmd2(x: Array, y: Array) -> float:
    """The unbiased squared MMD of the kernel (x.y/d + 1)^3, pair by pair."""
    d = x.shape[1]

    def kernel(a: Array, b: Array) -> float:
        return float((a @ b / d + 1) ** 3)

    m, n = len(x), len(y)
    xx = sum(kernel(x[i], x[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    yy = sum(kernel(y[i], y[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    xy = sum(kernel(a, b) for a in x for b in y) / (m * n)
    return xx + yy - 2 * xy


def neighbour_scores(fake: Array, real: Array, k: int, comparison: str) -> tuple[float, float, float, float]:
    """Precision, recall, density, coverage, from all distances at once."""

    def distances(a: Array, b: Array) -> Array:
        return np.array([[np.sum((u - v) ** 2) for v in b] for u in a])

    real_radius = np.sort(distances(real, real), 1)[:, k]
    fake_radius = np.sort(distances(fake, fake), 1)[:, k]
    between = distances(fake, real)
    inside = np.less if comparison == "<" else np.less_equal
    in_real, in_fake = inside(between, real_radius[None]), inside(between, fake_radius[:, None])
    return in_real.any(1).mean(), in_fake.any(0).mean(), in_real.sum() / (k * len(fake)), in_real.any(0).mean()


def sliced_wasserstein(x: Array, y: Array, directions: Array) -> float:
    """3d times the mean over directions of the squared 2-Wasserstein distance of the projections, matched in order of size."""
    distances = [np.mean((np.sort(x @ u) - np.sort(y @ u)) ** 2) for u in directions]
    return float(3 * x.shape[1] * np.mean(distances))


def gaussian_mmd2(x: Array, y: Array, sigma: float) -> tuple[float, float]:
    """The squared MMD of the Gaussian kernel, pair by pair: without and with the pairs of a row with itself."""

    def kernels(a: Array, b: Array) -> Array:
        return np.array([[np.exp(-np.sum((u - v) ** 2) / (2 * sigma**2)) for v in b] for u in a])

    def unequal(matrix: Array) -> float:
        return float(np.mean(matrix[~np.eye(len(matrix), dtype=bool)]))

    xx, yy, xy = kernels(x, x), kernels(y, y), kernels(x, y)
    return unequal(xx) + unequal(yy) - 2 * xy.mean(), xx.mean() + yy.mean() - 2 * xy.mean()


def clipped_density_coverage(fake: Array, real: Array, k: int) -> tuple[float, float]:
    """Clipped Density before its limit of 1, and Clipped Coverage by the whole table of the beta-binomial expectation."""

    def distances(a: Array, b: Array) -> Array:
        return np.array([[np.sqrt(np.sum((u - v) ** 2)) for v in b] for u in a])

    among, between = distances(real, real), distances(fake, real)
    radius = np.sort(among, 1)[:, k]
    clipped = np.minimum(radius, np.median(radius))
    share = np.minimum((between <= clipped).sum(1) / k, 1).mean()
    others = among + np.diag(np.full(len(real), np.inf))
    normal = np.minimum((others <= clipped).sum(1) / k, 1).mean()
    covered = (np.minimum((between < radius).sum(0), k) / k).mean()
    table = [expected_clipped_coverage(j, len(real), k) for j in range(len(fake) + 1)]
    return share / normal, float(np.searchsorted(table, covered)) / (len(fake) + 1)


def expected_clipped_coverage(good: int, num_real: int, k: int) -> float:
    """E min(J, k) / k for J ~ BetaBinomial(good, k, num_real - k), summed over all values of J."""
    from scipy.stats import betabinom

    values = np.arange(good + 1)
    return float((np.minimum(values, k) * betabinom.pmf(values, good, k, num_real - k)).sum() / k)
