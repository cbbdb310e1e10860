"""Extreme eigenvalues of random matrices with one outlier, against the theorems of ``optim/batch_spectrum``."""

import math
from collections.abc import Sequence

import numpy as np

from gconv_gan.config.base import Config
from gconv_gan.optim.batch_spectrum import batch_extreme, batch_extreme_gauss_newton

SIDE = 500
SEMICIRCLE = ((0.3, 0.25), (0.8, 0.25), (1.5, 1.0), (3.0, 1.0))
"""(λ, variance of the noise pσ²/𝔟) of Theorem 4."""
MARCHENKO_PASTUR = ((0.3, 0.25, 1.0), (0.8, 0.25, 1.0), (2.0, 0.25, 1.0), (1.5, 1.0, 1.0), (5.0, 1.0, 1.0), (4.0, 2.0, 0.5))
"""(λ, q, σ²) of Theorem 7."""


class Case(Config):
    """One kind of matrix."""

    noise: str
    eigenvalue: float
    spread: float
    """Variance of a semicircle, or q."""
    predicted: float
    measured: tuple[float, ...]
    """The largest eigenvalue of each draw."""

    @property
    def error(self) -> float:
        """Return the relative error of the mean of the draws against the prediction."""
        return float(np.mean(self.measured)) / self.predicted - 1


def synthetic_spectra(seeds: Sequence[int]) -> tuple[Case, ...]:
    """Return every case, with one draw per seed."""
    cases = []
    for eigenvalue, variance in SEMICIRCLE:
        draws = tuple(largest(eigenvalue, semicircle(variance, np.random.default_rng(seed))) for seed in seeds)
        predicted = batch_extreme(eigenvalue, variance, 1.0)
        cases.append(Case(noise="semicircle", eigenvalue=eigenvalue, spread=variance, predicted=predicted, measured=draws))
    for eigenvalue, q, variance in MARCHENKO_PASTUR:
        draws = tuple(largest(eigenvalue, marchenko_pastur(variance, q, np.random.default_rng(seed))) for seed in seeds)
        predicted = batch_extreme_gauss_newton(eigenvalue, variance, q)
        cases.append(
            Case(noise=f"Marchenko–Pastur, σ² = {variance:g}", eigenvalue=eigenvalue, spread=q, predicted=predicted, measured=draws)
        )
    return tuple(cases)


def semicircle(variance: float, generator: np.random.Generator) -> np.ndarray:
    """Return a symmetric matrix of normal numbers, whose eigenvalues fill ±2 √variance."""
    normal = generator.standard_normal((SIDE, SIDE))
    scaled: np.ndarray = (normal + normal.T) * math.sqrt(variance / (2 * SIDE))
    return scaled


def marchenko_pastur(variance: float, q: float, generator: np.random.Generator) -> np.ndarray:
    """Return the second moment of side/q normal vectors, whose eigenvalues end at σ² (1 + √q)²."""
    count = round(SIDE / q)
    normal = generator.standard_normal((SIDE, count))
    moment: np.ndarray = variance * normal @ normal.T / count
    return moment


def largest(eigenvalue: float, noise: np.ndarray) -> float:
    """Return the largest eigenvalue of noise plus a matrix of rank one, whose direction is arbitrary since the noise is isotropic."""
    matrix = noise.copy()
    matrix[0, 0] += eigenvalue
    return float(np.linalg.eigvalsh(matrix)[-1])
