"""MIND: a slow reference, torch-fidelity's number, the closed forms of Gaussians, properties, and the correction of the bias."""

import math

import numpy as np
import pytest
import torch

from gconv_gan.metrics.scores.mind import mind, sliced_distance, unit_vectors
from tests.reference.scores import sliced_wasserstein

_draw = np.random.RandomState(7)  # noqa: NPY002  (the constants are defined by this stream)
X, Y = torch.from_numpy(_draw.randn(500, 64)), torch.from_numpy(1.2 * _draw.randn(500, 64) + 0.3)
_rows = torch.from_numpy(_draw.randn(200, 64))
DIRECTIONS = _rows / _rows.norm(dim=1, keepdim=True)


def normal(seed: int, count: int, dim: int) -> torch.Tensor:
    return torch.randn(count, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_equals_the_definition() -> None:
    expected = sliced_wasserstein(X.numpy(), Y.numpy(), DIRECTIONS.numpy())
    assert sliced_distance(X, Y, DIRECTIONS) == pytest.approx(expected, rel=1e-12)
    assert expected == pytest.approx(27.3961491410, rel=1e-10)


def test_directions_and_number_are_torch_fidelitys() -> None:
    """torch-fidelity's metric_mind.py gives 27.1100378 in float32 for 1000 projections and seed 2020."""
    distance, _ = mind(X, Y)
    assert distance == pytest.approx(27.1100388, abs=1e-7)
    directions = unit_vectors(1000, 64, torch.Generator().manual_seed(2020))
    assert sliced_distance(X, Y, directions) == distance


def test_the_larger_set_is_cut_before_the_directions_are_drawn() -> None:
    draw = torch.Generator().manual_seed(2020)
    kept = Y[torch.randperm(500, generator=draw)[:300]]
    expected = sliced_distance(X[:300], kept, unit_vectors(1000, 64, draw))
    assert mind(X[:300], Y)[0] == expected


def test_equal_sets_are_at_zero_and_the_order_of_arguments_does_not_matter() -> None:
    assert mind(X, X)[0] == 0
    assert mind(X, X.flip(0))[0] < 1e-25  # the matrix product rounds rows by their place
    assert sliced_distance(X, Y, DIRECTIONS) == sliced_distance(Y, X, DIRECTIONS)


def test_a_shift_of_all_coordinates_costs_three_times_its_square() -> None:
    for shift in (1.0, 3.0):
        distance, _ = mind(X, X + shift)
        assert distance == pytest.approx(3 * 64 * shift**2, rel=3 * math.sqrt(2 * 63 / (66 * 1000)))


@pytest.mark.parametrize("scale", [0.5, 1.2])
def test_a_scaled_gaussian_is_at_three_times_its_frechet_distance(scale: float) -> None:
    distance, debiased = mind(normal(0, 4000, 64), scale * normal(1, 4000, 64))
    deviation = 2 * math.sqrt((1 + scale**2) / (2 * 4000 * 64)) / abs(scale - 1)  # of the scales of the two samples
    assert debiased == pytest.approx(3 * 64 * (scale - 1) ** 2, rel=3 * deviation)
    assert distance - debiased == pytest.approx(20 * 64 * (1 + scale**2) / 2 / 4000, rel=0.1)


def test_the_bias_is_that_of_the_trace_and_most_of_it_is_removed() -> None:
    found = [mind(normal(2 * seed, 1000, 32), normal(2 * seed + 1, 1000, 32), projections=200) for seed in range(10)]
    raw, debiased = torch.tensor(found).mean(0).tolist()
    assert raw == pytest.approx(19 * 32 / 1000, rel=0.1)
    assert abs(debiased) < 0.05 * raw + 0.02


def test_refusals() -> None:
    with pytest.raises(ValueError, match="at least 4 images, got 3 and 500"):
        mind(X[:3], Y)
    with pytest.raises(ValueError, match="not finite"):
        mind(X * torch.nan, Y)
