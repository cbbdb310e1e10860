"""Inception Score and KID: constants, analytic values, torch-fidelity on the same features, refusals."""

from functools import partial

import numpy as np
import pytest
import torch
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric

from gconv_gan.metrics.generative import inception_score, kid, mmd2_unbiased
from tests.reference.host_free import HostReads
from tests.reference.scores import mmd2

# The constants are defined by NumPy's legacy streams.
LOGITS = torch.from_numpy(3 * np.random.RandomState(3).randn(1000, 10))  # noqa: NPY002
_draw = np.random.RandomState(4)  # noqa: NPY002
X, Y = torch.from_numpy(_draw.randn(500, 64)), torch.from_numpy(1.2 * _draw.randn(500, 64) + 0.3)


@pytest.mark.parametrize(
    ("splits", "seed", "mean", "std"),
    [(10, None, 3.7601769457, 0.1210161446), (10, 2020, 3.7419755569, 0.1126639037), (1, None, 3.8302173883, 0.0)],
)
def test_inception_score_constants_and_torch_fidelity(splits: int, seed: int | None, mean: float, std: float) -> None:
    score = inception_score(LOGITS, splits=splits, permutation_seed=seed)
    assert score == pytest.approx((mean, std), rel=1e-8)
    theirs = isc_features_to_metric(LOGITS, splits=splits, shuffle=seed is not None, rng_seed=seed or 0)
    assert score == pytest.approx(tuple(theirs.values()), rel=1e-12)


def test_inception_score_bounds() -> None:
    assert inception_score(torch.zeros(50, 7)) == pytest.approx((1, 0))
    one_hot = 1e4 * torch.eye(7, dtype=torch.float64).repeat(20, 1)
    assert inception_score(one_hot, splits=20) == pytest.approx((7, 0), rel=1e-9)


def test_chunks_of_unequal_size_have_their_bounds_at_multiples_divided() -> None:
    logits = LOGITS[:23]
    bounds = [0, 5, 11, 17, 23]  # i·23 // 4
    parts = [inception_score(logits[a:b], splits=1).mean for a, b in zip(bounds, bounds[1:], strict=False)]
    assert inception_score(logits, splits=4) == pytest.approx((np.mean(parts), np.std(parts)), rel=1e-12)


def test_kid_constants() -> None:
    assert mmd2_unbiased(X, Y) == pytest.approx(0.309697175689, rel=1e-8)
    assert mmd2_unbiased(X, Y, tile=77) == pytest.approx(0.309697175689, rel=1e-8)
    assert kid(X, Y, subsets=10, subset_size=100) == pytest.approx((0.300527659665, 0.036331721747), rel=1e-8)


def test_mmd_equals_the_definition_for_sets_of_unequal_size() -> None:
    assert mmd2_unbiased(X[:13], Y[:9]) == pytest.approx(mmd2(X[:13].numpy(), Y[:9].numpy()), rel=1e-10)


def test_kid_equals_torch_fidelity() -> None:
    theirs = kid_features_to_metric(X, Y, kid_subsets=10, kid_subset_size=100, rng_seed=2020, verbose=False)
    assert kid(X, Y, subsets=10, subset_size=100) == pytest.approx(tuple(theirs.values()), abs=1e-6)


def test_kid_does_not_depend_on_the_order_of_the_rows_when_they_are_numbered() -> None:
    shuffled = torch.randperm(500, generator=torch.Generator().manual_seed(0))
    of_50 = partial(kid, subsets=5, subset_size=50)
    assert of_50(X[shuffled], Y, fake_index=shuffled) == of_50(X, Y)
    assert of_50(X, Y[shuffled], real_index=shuffled) == of_50(X, Y)
    assert of_50(X[shuffled], Y) != of_50(X, Y)
    assert of_50(X, Y, seed=1) != of_50(X, Y)


def test_kid_of_one_distribution_is_zero_on_average() -> None:
    draw = torch.Generator().manual_seed(0)
    values = torch.tensor([mmd2_unbiased(*torch.randn(2, 40, 16, generator=draw, dtype=torch.float64)) for _ in range(200)])
    assert values.min() < 0 < values.max()
    assert values.mean().abs() < 3 * values.std() / 200**0.5


def test_refusals() -> None:
    with pytest.raises(ValueError, match="first those of image 3"):
        inception_score(LOGITS.index_fill(0, torch.tensor(3), torch.nan))
    with pytest.raises(ValueError, match="first those of image 5"):
        kid(X.index_fill(0, torch.tensor(5), torch.inf), Y, subset_size=10)
    with pytest.raises(ValueError, match="5 images cannot be cut into 10"):
        inception_score(LOGITS[:5])
    with pytest.raises(ValueError, match="subsets of 1000"):
        kid(X, Y)
    with pytest.raises(ValueError, match="at least two rows"):
        mmd2_unbiased(X, Y[:1])
    with pytest.raises(TypeError, match="unexpected keyword"):
        kid(X, Y, subset=3)  # type: ignore[call-arg]


def test_a_spread_of_equal_values_is_zero() -> None:
    found = inception_score(torch.randn(1, 10, generator=torch.Generator().manual_seed(0)).expand(103, 10), splits=10)
    assert found.std == 0.0
    assert found.mean == pytest.approx(1, abs=1e-12)


def test_a_kernel_distance_of_equal_constant_sets_is_zero() -> None:
    rows = torch.randn(1, 64, generator=torch.Generator().manual_seed(0)).expand(50, 64)
    assert mmd2_unbiased(rows, rows[:30]) == 0.0
    assert mmd2_unbiased(rows, 1.01 * rows[:30]) > 1e-4


def test_the_host_does_not_read_a_value_for_each_subset() -> None:
    draw = torch.Generator().manual_seed(0)
    fake, real = torch.randn(60, 5, generator=draw), torch.randn(50, 5, generator=draw)
    counts = []
    for subsets in (2, 9):
        with HostReads() as reads:
            kid(fake, real, subsets=subsets, subset_size=20)
        counts.append(reads.count)
    assert counts[0] == counts[1] < 10
