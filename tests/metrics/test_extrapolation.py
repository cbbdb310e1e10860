"""FID∞ on Gaussians of known distance: the fit in 1/n removes the bias of finite sets."""

import numpy as np
import pytest
import torch

from gconv_gan.metrics.extrapolation import counts_to_fit, fid_infinity
from gconv_gan.metrics.frechet import frechet_distance
from gconv_gan.metrics.statistics import Moments, moments_of

DIM, SCALE = 32, 1.1
TRUE = DIM * (SCALE - 1) ** 2
REAL = Moments(10**9, torch.zeros(DIM, dtype=torch.float64), torch.eye(DIM, dtype=torch.float64))  # the distribution itself


def fakes(seed: int, count: int = 2000) -> torch.Tensor:
    return SCALE * torch.randn(count, DIM, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_limit_is_closer_to_the_truth_than_any_finite_set() -> None:
    finite, limit = [], []
    for seed in range(6):
        x = fakes(seed)
        finite.append(frechet_distance(moments_of(x), REAL) - TRUE)
        limit.append(fid_infinity(x, REAL, counts=counts_to_fit(len(x)), seed=0).value - TRUE)
    spread = np.std(finite) / 6**0.5
    assert np.mean(finite) > 4 * spread  # biased upward
    assert abs(np.mean(limit)) < np.mean(finite) / 5


def test_it_is_the_intercept_of_a_least_squares_line_in_one_over_n() -> None:
    counts = counts_to_fit(1000, points=7)
    found = fid_infinity(fakes(0, 1000), REAL, counts=counts, seed=1)
    slope, intercept = np.polyfit(1 / np.array(counts), found.distances, 1)
    assert (found.value, found.slope) == pytest.approx((intercept, slope), rel=1e-9)
    assert found.slope > 0
    # the last subset is the whole set
    assert found.distances[-1] == pytest.approx(frechet_distance(moments_of(fakes(0, 1000)), REAL), rel=1e-9)


def test_subsets_are_functions_of_the_seed() -> None:
    x = fakes(0, 500)
    found = [fid_infinity(x, REAL, counts=(50, 200, 500), seed=seed).value for seed in (3, 3, 4)]
    assert found[0] == found[1] != found[2]


def test_sizes_of_the_subsets() -> None:
    assert counts_to_fit(50_000) == tuple(np.linspace(5000, 50_000, 15).astype(int))
    for counts in ((50,), (50, 50), (1, 50), (50, 501)):
        with pytest.raises(ValueError, match="cannot fit a line"):
            fid_infinity(fakes(0, 500), REAL, counts=counts, seed=0)
