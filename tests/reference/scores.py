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
