"""Geometry of a reference: constants, closed forms, the floor of the Fréchet distance, and duplicates."""

import numpy as np
import pytest
import torch

from gconv_gan.metrics.frechet import frechet_distance
from gconv_gan.metrics.references.reference_geometry import ReferenceGeometry, frechet_bias, reference_geometry
from gconv_gan.metrics.statistics import Moments, moments_of

SPECTRUM = 1 / np.arange(1, 17)
ROWS = torch.from_numpy(np.random.RandomState(6).randn(1000, 16) * SPECTRUM)  # noqa: NPY002  (the constants are defined by these streams)
_draw = np.random.RandomState(5)  # noqa: NPY002
PLANE = torch.from_numpy(_draw.randn(1000, 4) @ _draw.randn(4, 64))


def geometry(rows: torch.Tensor) -> ReferenceGeometry:
    found = reference_geometry(moments_of(rows), rows)
    assert found is not None
    return found


def test_ranks_and_participation() -> None:
    found = geometry(ROWS)
    assert found.effective_rank_of_covariance == pytest.approx(3.69803855, abs=1e-8)
    values = torch.linalg.svdvals(ROWS - ROWS.mean(0))
    shares = values / values.sum()
    assert found.effective_rank == pytest.approx(float((-(shares * shares.log()).sum()).exp()), rel=1e-10)
    assert found.effective_rank == pytest.approx(10.41181717, abs=1e-8)
    assert found.participation == pytest.approx(2.22529664, abs=1e-8)
    assert not found.ranks_are_low
    assert geometry(ROWS[:100]).ranks_are_low


def test_isotropic_sets_have_full_rank() -> None:
    found = reference_geometry(Moments(1000, torch.zeros(8).double(), 3 * torch.eye(8).double()), None)
    assert found is not None
    assert (found.effective_rank, found.effective_rank_of_covariance, found.participation) == pytest.approx((8, 8, 8), rel=1e-12)
    assert (found.density, found.dimension, found.sampled) == (None, None, None)


def test_the_dimension_of_a_plane_and_the_density_under_scaling() -> None:
    found, halved = geometry(PLANE), geometry(PLANE / 2)
    assert (found.dimension, found.dimension_of_two) == pytest.approx((4.1065, 4.0316), abs=1e-4)
    assert (halved.dimension, halved.dimension_of_two) == pytest.approx((found.dimension, found.dimension_of_two), rel=1e-9)
    assert found.density is not None
    assert halved.density == pytest.approx(found.density + np.log(2), rel=1e-9)


def test_duplicates_are_counted_and_left_out() -> None:
    found, alone = geometry(torch.cat([PLANE, PLANE[:3]])), geometry(PLANE)
    assert (found.duplicates, found.sampled, alone.duplicates) == (6, 1003, 0)
    assert found.dimension == pytest.approx(alone.dimension, rel=0.02)


def test_the_bias_is_that_of_samples_of_the_same_gaussian() -> None:
    assert frechet_bias(torch.ones(64).double()) == pytest.approx(64 * (1 + 65 / 4), rel=1e-12)
    values = 1 / torch.arange(1, 17, dtype=torch.float64)
    exact = Moments(10**9, torch.zeros(16).double(), torch.diag(values))
    draw = torch.Generator().manual_seed(0)
    drawn = [moments_of(torch.randn(500, 16, dtype=torch.float64, generator=draw) * values.sqrt()) for _ in range(40)]
    distances = [500 * frechet_distance(one, exact) for one in drawn]
    assert np.mean(distances) == pytest.approx(frechet_bias(values), rel=0.06)


def test_the_floor_of_a_perfect_generator() -> None:
    found = geometry(ROWS)
    assert found.frechet_bias is not None
    assert found.frechet_floor(100, 400) == pytest.approx(found.frechet_bias * (1 / 100 + 1 / 400))
    assert found.frechet_floor(16, 400) is None  # as many fakes as features
    assert found.frechet_floor(100, None) is None
    assert geometry(ROWS[:16]).frechet_bias is None


def test_too_few_or_equal_images() -> None:
    assert reference_geometry(moments_of(torch.ones(20, 3)), torch.ones(20, 3)) is None
    few = geometry(ROWS[:5])
    assert (few.sampled, few.density) == (5, None)
    twice = geometry(torch.cat([ROWS[:20], ROWS[:20]]))
    assert (twice.duplicates, twice.density) == (40, None)
