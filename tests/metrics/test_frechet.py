"""Fréchet distance against its definition, its nuclear form, constants of published sizes, and refusals."""

import numpy as np
import pytest
import torch
from torch import Tensor

from gconv_gan.metrics.frechet import frechet_distance, frechet_distance_few_fakes, symmetric_root
from gconv_gan.metrics.statistics import Moments, moments_of
from tests.reference.scores import frechet_nuclear, frechet_product


def pair(seed: int, n1: int, n2: int, d: int) -> tuple[Tensor, Tensor]:
    draw = np.random.RandomState(seed)  # noqa: NPY002  (the constants are defined by this stream)
    return torch.from_numpy(draw.randn(n1, d)), torch.from_numpy(1.2 * draw.randn(n2, d) + 0.3)


@pytest.mark.parametrize(
    ("seed", "n1", "n2", "d", "expected", "product"),
    [
        (0, 400, 400, 64, 15.358668721, 15.358668721),
        (1, 30, 37, 128, 206.711580801, 206.711574578),
        (2, 30, 4000, 128, 189.561523470, 189.561519723),
    ],
)
def test_all_forms_give_the_constants(seed: int, n1: int, n2: int, d: int, expected: float, product: float) -> None:
    x, y = pair(seed, n1, n2, d)
    symmetric = frechet_distance(moments_of(x), moments_of(y))
    few = frechet_distance_few_fakes(x, moments_of(y))
    assert symmetric == pytest.approx(expected, rel=1e-8)
    assert few == pytest.approx(symmetric, rel=1e-9)
    if n1 * n2 < 1e5:
        assert frechet_nuclear(x, y) == pytest.approx(symmetric, rel=1e-9)
    # without a threshold the definition carries the roots of round-off, √ε for each missing rank
    missing = max(0, d - min(n1, n2) + 1)
    assert frechet_product(x, y) == pytest.approx(product, abs=1e-5)
    assert abs(frechet_product(x, y) - symmetric) < 1e-8 + missing * torch.finfo(torch.float64).eps ** 0.5 * symmetric


@pytest.mark.parametrize("rank", [1, 5, 20])
def test_forms_agree_on_rank_deficient_sets(rank: int) -> None:
    draw = torch.Generator().manual_seed(rank)
    x = torch.randn(60, rank, generator=draw, dtype=torch.float64) @ torch.randn(rank, 40, generator=draw, dtype=torch.float64)
    y = torch.randn(70, rank + 3, generator=draw, dtype=torch.float64) @ torch.randn(rank + 3, 40, generator=draw, dtype=torch.float64)
    expected = frechet_nuclear(x, y)
    assert frechet_distance(moments_of(x), moments_of(y)) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance_few_fakes(x, moments_of(y)) == pytest.approx(expected, rel=1e-9)


def test_shift_scale_identity_and_rotation() -> None:
    x, y = pair(3, 200, 150, 20)
    m = moments_of(x)
    c = torch.linspace(-1, 1, 20, dtype=torch.float64)
    assert frechet_distance(moments_of(x + c), m) == pytest.approx(c.square().sum().item(), rel=1e-9)
    scaled = (2.5 - 1) ** 2 * (m.covariance.trace() + m.mean.square().sum())
    assert frechet_distance(moments_of(2.5 * x), m) == pytest.approx(scaled.item(), rel=1e-9)
    assert frechet_distance(m, m) == pytest.approx(0, abs=1e-9 * m.covariance.trace().item())
    q, _ = torch.linalg.qr(torch.randn(20, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    assert frechet_distance(moments_of(x @ q), moments_of(y @ q)) == pytest.approx(frechet_distance(m, moments_of(y)), rel=1e-9)


def drawn(rows: int, columns: int) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(rows))


@pytest.mark.parametrize(
    "features",
    [
        drawn(400, 64),
        drawn(600, 64).relu() @ drawn(64, 64),
        drawn(600, 64) * torch.logspace(1, -6, 64),  # eigenvalues down to and below round-off
        drawn(100, 5) @ drawn(5, 64),
        drawn(65, 64),
        drawn(50, 128).relu(),
        torch.cat([drawn(300, 60).relu(), torch.zeros(300, 4)], 1),
    ],
    ids=["whole", "mixed", "decaying", "rank 5", "barely whole", "few", "dead features"],
)
def test_what_is_below_its_own_rounding_error_is_zero(features: Tensor) -> None:
    order = torch.randperm(len(features))
    moments, permuted = moments_of(features), moments_of(features[order])
    assert [frechet_distance(moments, other) for other in (moments, permuted)] == [0.0, 0.0]
    assert frechet_distance_few_fakes(features, permuted) == 0.0
    shift = torch.full((features.shape[1],), 0.01, dtype=torch.float64)
    near = frechet_distance(moments_of(features.double() + shift), moments)
    assert near == pytest.approx(shift.square().sum().item(), rel=0.05)  # and what is above it is not


def test_a_cached_root_gives_the_same_number_and_is_a_root() -> None:
    x, y = (moments_of(s) for s in pair(4, 100, 30, 40))
    root = symmetric_root(y.covariance)
    torch.testing.assert_close(root @ root, y.covariance, rtol=1e-9, atol=1e-12)
    assert frechet_distance(x, y, real_root=root) == frechet_distance(x, y)


@pytest.mark.parametrize("d", [1, 65, 129, 600])
def test_the_blocks_of_a_cholesky_factor_and_the_root_give_the_same_number(d: int) -> None:
    x, y = (moments_of(s) for s in pair(5, 2 * d + 2, 2 * d + 3, d))
    assert frechet_distance(x, y) == pytest.approx(frechet_distance(x, y, real_root=symmetric_root(y.covariance)), rel=1e-10)


def test_damaged_statistics_are_refused() -> None:
    x, y = (moments_of(s) for s in pair(5, 50, 50, 8))
    with pytest.raises(ValueError, match="not finite"):
        frechet_distance(x, Moments(50, y.mean, y.covariance * torch.nan))
    with pytest.raises(ValueError, match="not positive semi-definite"):
        frechet_distance(x, Moments(50, y.mean, y.covariance - torch.eye(8, dtype=torch.float64)))
    with pytest.raises(ValueError, match="damaged statistics"):  # a root of another covariance makes the last trace too large
        frechet_distance(x, y, real_root=3 * symmetric_root(y.covariance))
    with pytest.raises(ValueError, match="cannot be compared"):
        frechet_distance(moments_of(torch.randn(9, 7)), y)
    with pytest.raises(ValueError, match="at least two rows"):
        frechet_distance_few_fakes(torch.randn(1, 8), y)
    with pytest.raises(TypeError, match="unexpected keyword"):
        frechet_distance(x, y, root=None)  # type: ignore[call-arg]
