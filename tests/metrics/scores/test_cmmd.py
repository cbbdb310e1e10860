"""CMMD: a slow reference, constants, torch-fidelity's Gaussian kernel, the closed form of Gaussians, and its bias."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch_fidelity.metric_kid import kid_features_to_metric

from gconv_gan.metrics.scores.cmmd import gaussian_mmd2
from tests.reference.scores import gaussian_mmd2 as pair_by_pair

_draw = np.random.RandomState(8)  # noqa: NPY002  (the constants are defined by this stream)
X, Y = torch.from_numpy(_draw.randn(500, 64)), torch.from_numpy(1.2 * _draw.randn(500, 64) + 0.3)


def test_constants() -> None:
    normalised = gaussian_mmd2(F.normalize(X, dim=1), F.normalize(Y, dim=1))
    assert 1000 * normalised.biased == pytest.approx(0.6042192586, abs=1e-9)
    assert 1000 * normalised.unbiased == pytest.approx(0.5655399005, abs=1e-9)
    as_they_are = gaussian_mmd2(X, Y)
    assert 1000 * as_they_are.biased == pytest.approx(35.4900181506, abs=1e-9)
    assert 1000 * as_they_are.unbiased == pytest.approx(33.3577451397, abs=1e-9)


@pytest.mark.parametrize("tile", [7, 1024])
def test_equals_the_definition_at_any_tile(tile: int) -> None:
    found = gaussian_mmd2(X[:40], Y[:30], sigma=3.0, tile=tile)
    assert tuple(found) == pytest.approx(pair_by_pair(X[:40].numpy(), Y[:30].numpy(), 3), rel=1e-12)


def test_equals_torch_fidelitys_gaussian_kernel() -> None:
    theirs = kid_features_to_metric(
        X, Y, kid_subsets=1, kid_subset_size=500, kid_kernel="rbf", kid_kernel_rbf_sigma=10.0, rng_seed=2020, verbose=False
    )
    assert gaussian_mmd2(X, Y).unbiased == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-9)


def test_gaussians_have_a_closed_form() -> None:
    """e(v, q) = (σ² / (σ² + v))^(d/2) exp(-q / (2 (σ² + v))); variances 1 and 1.44, means apart by 0.3 in each of 64 coordinates."""

    def kernel_mean(variance: float, apart: float) -> float:
        return (100 / (100 + variance)) ** 32 * np.exp(-apart / (2 * (100 + variance)))

    expected = 1000 * (kernel_mean(2, 0) + kernel_mean(2.88, 0) - 2 * kernel_mean(2.44, 64 * 0.09))
    assert expected == pytest.approx(34.659, abs=1e-3)
    draw = torch.Generator().manual_seed(0)
    x, y = (torch.randn(2000, 64, dtype=torch.float64, generator=draw) for _ in range(2))
    assert 1000 * gaussian_mmd2(x, 1.2 * y + 0.3).unbiased == pytest.approx(expected, rel=0.03)


def test_the_bias_is_that_of_the_pairs_of_a_row_with_itself() -> None:
    draw = torch.Generator().manual_seed(0)
    found = []
    for _ in range(20):
        x, y = (F.normalize(torch.randn(500, 64, dtype=torch.float64, generator=draw), dim=1) for _ in range(2))
        found.append(gaussian_mmd2(x, y))
    unbiased, biased = 1000 * torch.tensor(found).mean(0)
    assert biased == pytest.approx(1000 * (1 - np.exp(-0.01)) * 2 / 500, rel=0.1)
    assert abs(unbiased) < 0.1 * biased


def test_refusals() -> None:
    with pytest.raises(ValueError, match="two sets of at least two rows, got 1 and 500"):
        gaussian_mmd2(X[:1], Y)
    with pytest.raises(ValueError, match="not finite"):
        gaussian_mmd2(X, Y * torch.inf)
