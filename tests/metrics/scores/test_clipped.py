"""Clipped Density and Coverage: the numbers of the authors' code, slow references, and what the two scores are made for."""

import numpy as np
import pytest
import torch

from gconv_gan.metrics.neighbours import squared_radii
from gconv_gan.metrics.scores.clipped import calibrated_coverage, clipped_scores, expected_coverage
from tests.reference.scores import clipped_density_coverage, expected_clipped_coverage

REALS = torch.from_numpy(np.random.RandomState(1).randn(2000, 8))  # noqa: NPY002  (the constants are defined by these streams)
FAKES = torch.from_numpy(np.random.RandomState(2).randn(2000, 8))  # noqa: NPY002
_draw = np.random.RandomState(5)  # noqa: NPY002
FEW_FAKES, FEW_REALS = torch.from_numpy(_draw.randn(300, 8)), torch.from_numpy(1.3 * _draw.randn(400, 8))


@pytest.mark.parametrize(
    ("bad", "density", "coverage"),
    [
        (0, 0.9859208524, 0.9665167416),
        (0.25, 0.7395357686, 0.7261369315),
        (0.5, 0.4840182649, 0.4822588706),
        (0.75, 0.2319254186, 0.2363818091),
    ],
)
def test_both_fall_with_the_share_of_bad_samples_as_in_the_authors_code(bad: float, density: float, coverage: float) -> None:
    fakes = FAKES.clone()
    fakes[: int(bad * 2000)] = 10 * fakes[: int(bad * 2000)] + 100
    found = clipped_scores(fakes, REALS)
    assert (found.density, found.coverage) == pytest.approx((density, coverage), abs=1e-10)


@pytest.mark.parametrize("tile", [64, 4096])
def test_equals_the_definition_at_any_tile(tile: int) -> None:
    found = clipped_scores(FEW_FAKES, FEW_REALS, tile=tile)
    assert (found.density_raw, found.coverage) == pytest.approx(
        clipped_density_coverage(FEW_FAKES.numpy(), FEW_REALS.numpy(), 5), rel=1e-12
    )
    assert found.density_raw == pytest.approx(1.6212542478, abs=1e-10)
    assert (found.density, found.coverage) == (1, 1)


def test_ties_are_decided_exactly() -> None:
    """Points of a lattice: nearly every distance is a tie, and the balls have radii of whole squares."""
    draw = np.random.default_rng(0)
    fake, real = (draw.integers(0, 6, (n, 4)).astype(np.float64) + 100 for n in (60, 80))
    found = clipped_scores(torch.from_numpy(fake), torch.from_numpy(real), tile=17)
    assert (found.density_raw, found.coverage) == pytest.approx(clipped_density_coverage(fake, real, 5), rel=1e-12)


def test_the_expected_coverage_is_that_of_the_beta_binomial_distribution() -> None:
    for good, reals, k in ((0, 50, 5), (1, 50, 5), (3, 50, 5), (7, 20, 3), (300, 400, 5), (2000, 500, 5)):
        expected = expected_clipped_coverage(good, reals, k)
        assert expected_coverage(good, num_real=reals, k=k) == pytest.approx(expected, rel=1e-10, abs=1e-12)
    assert expected_coverage(300, num_real=400, k=5) == pytest.approx(0.6393830802, abs=1e-10)
    assert expected_coverage(50_000, num_real=50_000, k=5) == pytest.approx(0.75390625, abs=2e-5)  # the limit of equal sets


def test_the_calibration_inverts_the_expectation() -> None:
    for good in (0, 1, 17, 200):
        share = expected_coverage(good, num_real=150, k=5)
        assert calibrated_coverage(share, num_fake=200, num_real=150, k=5) == good / 201
    assert calibrated_coverage(1.0, num_fake=200, num_real=150, k=5) == 1


def test_repeated_fakes_lose_coverage_and_not_density() -> None:
    found = clipped_scores(FAKES[:100].repeat(20, 1), REALS)
    assert found.density > 0.85
    assert found.coverage < 0.3


def test_outliers_among_the_reals_do_not_change_the_density_of_bad_fakes() -> None:
    """An outlier of the reals has a ball that holds everything; plain density counts it, clipped density does not."""
    reals = REALS.clone()
    reals[:5] += 1000 * torch.arange(1, 6, dtype=torch.float64)[:, None]
    bad = FAKES + 300
    assert clipped_scores(bad, reals).density == 0


def test_known_radii_change_nothing() -> None:
    assert clipped_scores(FEW_FAKES, FEW_REALS, real_radii=squared_radii(FEW_REALS, k=5)) == clipped_scores(FEW_FAKES, FEW_REALS)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="5-th neighbour does not exist among 5"):
        clipped_scores(FEW_FAKES, FEW_REALS[:5])
    with pytest.raises(ValueError, match="not finite"):
        clipped_scores(FEW_FAKES * torch.nan, FEW_REALS)
