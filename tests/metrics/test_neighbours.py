"""Precision, recall, density and coverage: constants, brute force, torch-fidelity, and the conventions of "inside"."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch_fidelity.metric_prc import calculate_precision_recall_full

from gconv_gan.metrics import neighbours
from gconv_gan.metrics.neighbours import SPARE_NEIGHBOURS, Balls, ball_counts, nearest_rows, neighbourhoods, squared_radii
from tests.reference.host_free import HostReads
from tests.reference.scores import neighbour_scores

_draw = np.random.RandomState(5)  # noqa: NPY002  (the constants are defined by this stream)
FAKE, REAL = torch.from_numpy(_draw.randn(300, 8)), torch.from_numpy(1.3 * _draw.randn(400, 8))


@pytest.fixture(params=["cpu", "device"])
def passes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """One pass over all pairs, or the two for which the host does not wait."""
    if request.param == "device":
        monkeypatch.setattr(neighbours, "decided_at_once", lambda device, tile: tile)


@pytest.mark.parametrize("comparison", ["<", "<="])
@pytest.mark.parametrize(
    ("k", "precision", "recall", "density", "coverage"),
    [(3, 293 / 300, 232 / 400, 1.8055556, 0.87), (5, 298 / 300, 271 / 400, 1.7446667, 0.97)],
)
@pytest.mark.parametrize("tile", [64, 4096])
def test_constants_at_any_tile(
    k: int, precision: float, recall: float, density: float, coverage: float, comparison: str, tile: int
) -> None:
    found = neighbourhoods(FAKE, REAL, k=k, comparison=comparison, tile=tile)  # type: ignore[arg-type]
    assert (found.precision, found.recall, found.coverage) == (precision, recall, coverage)
    assert found.density == pytest.approx(density, abs=1e-7)


def test_equals_torch_fidelity() -> None:
    found = neighbourhoods(FAKE, REAL, k=3, comparison="<=")
    assert (found.precision, found.recall) == pytest.approx(calculate_precision_recall_full(FAKE, REAL, 3), abs=1e-7)


@pytest.mark.usefixtures("passes")
@pytest.mark.parametrize("comparison", ["<", "<="])
def test_ties_are_decided_exactly(comparison: str) -> None:
    """Points of a lattice: nearly every distance is a tie, and duplicates give balls of radius zero."""
    draw = np.random.default_rng(0)
    fake, real = (draw.integers(0, 3, (n, 4)).astype(np.float64) + 1e4 for n in (60, 80))
    for tile in (7, 100):
        found = neighbourhoods(torch.from_numpy(fake), torch.from_numpy(real), k=3, comparison=comparison, tile=tile)  # type: ignore[arg-type]
        expected = neighbour_scores(fake, real, 3, comparison)
        assert (found.precision, found.recall, found.density, found.coverage) == pytest.approx(expected, rel=1e-12)


def test_the_host_does_not_read_a_value_for_each_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "decided_at_once", lambda device, tile: tile)
    counts = []
    for tile in (20, 400):
        with HostReads() as reads:
            neighbourhoods(FAKE, REAL, k=3, comparison="<", tile=tile)
        with HostReads() as more_reads:  # the k-th neighbour of each real is on the surface of its ball
            ball_counts(REAL, REAL, [Balls(squared_radii(REAL, k=3), "<=")], tile=tile)
        counts.append((reads.count, more_reads.count))
    assert counts[0] == counts[1]
    assert max(counts[0]) < 10


@pytest.mark.usefixtures("passes")
@pytest.mark.parametrize("tile", [16, 33, 500])
def test_tiles_with_undecided_pairs_and_tiles_without_give_the_scores_of_brute_force(tile: int) -> None:
    """A fifth of the fakes are reals: their pairs lie on the surfaces of balls."""
    fake = torch.cat([FAKE[:80] / 3, REAL[:20] / 3])
    real = REAL[:130] / 3
    for comparison in ("<", "<="):
        found = neighbourhoods(fake, real, k=2, comparison=comparison, tile=tile)  # type: ignore[arg-type]
        expected = neighbour_scores(fake.numpy(), real.numpy(), 2, comparison)
        assert (found.precision, found.recall, found.density, found.coverage) == pytest.approx(expected, rel=1e-12)


def test_a_set_against_itself() -> None:
    inside = neighbourhoods(REAL, REAL, k=5, comparison="<", tile=90)
    assert (inside.precision, inside.recall, inside.density, inside.coverage) == (1, 1, 1, 1)
    assert neighbourhoods(REAL, REAL, k=5, comparison="<=", tile=90).density == 6 / 5


def test_mode_collapse_has_precision_and_no_recall() -> None:
    draw = torch.Generator().manual_seed(0)
    collapsed, diverse = 0.1 * torch.randn(200, 16, generator=draw), 3 * torch.randn(200, 16, generator=draw)
    found = neighbourhoods(collapsed, diverse, k=3, comparison="<=")
    assert found.precision > 0.8
    assert found.recall < 0.3
    swapped = neighbourhoods(diverse, collapsed, k=3, comparison="<=")
    assert (swapped.precision, swapped.recall) == (found.recall, found.precision)


class LargestTensor(TorchDispatchMode):
    """The number of elements of the largest tensor that any operation makes; views of what exists are not counted."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, Tensor) and not tensor._is_view():
                self.elements = max(self.elements, tensor.numel())
        return result


@pytest.mark.parametrize("ties", [False, True])
def test_memory_is_that_of_a_tile_whatever_the_number_of_images(ties: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gconv_gan.metrics.neighbours.DIFFERENCES", 4096)
    draw, tile = torch.Generator().manual_seed(0), 64
    largest = []
    for count in (500, 1500):  # 1500 x 1500 distances would be 2.25 million elements, their features are 3,000
        points = torch.randint(0, 20, (2, count, 2), generator=draw).float() if ties else torch.randn(2, count, 2, generator=draw)
        with LargestTensor() as watch:
            neighbourhoods(points[0], points[1], k=5, comparison="<", tile=tile)
        largest.append(watch.elements)
    per_row = 1500 * (5 + 1 + SPARE_NEIGHBOURS)  # what is kept of every row's neighbours grows with the images, and nothing else
    assert max(largest) <= max(2 * tile * tile, per_row)


def test_known_radii_change_nothing() -> None:
    radii = squared_radii(REAL, k=3, tile=70)
    distances = torch.cdist(REAL, REAL).square()
    torch.testing.assert_close(radii, distances.kthvalue(4, 1).values, rtol=1e-9, atol=1e-9)
    assert neighbourhoods(FAKE, REAL, k=3, comparison="<=", real_radii=radii) == neighbourhoods(FAKE, REAL, k=3, comparison="<=")
    shrunk = neighbourhoods(FAKE, REAL, k=3, comparison="<=", real_radii=radii / 4)
    assert shrunk.precision < neighbourhoods(FAKE, REAL, k=3, comparison="<=").precision


def test_float32_features_are_compared_in_float64() -> None:
    """Far from the origin and close together: float32 distances would be noise."""
    fake, real = (rows.float() / 1000 + 1000 for rows in (FAKE, REAL))
    found = neighbourhoods(fake, real, k=3, comparison="<", tile=90)
    assert found == neighbourhoods(fake.double(), real.double(), k=3, comparison="<")
    expected = neighbour_scores(fake[:40].double().numpy(), real[:50].double().numpy(), 3, "<")
    few = neighbourhoods(fake[:40], real[:50], k=3, comparison="<")
    assert (few.precision, few.recall, few.density, few.coverage) == pytest.approx(expected, rel=1e-12)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="3-th neighbour does not exist among 3"):
        neighbourhoods(FAKE[:3], REAL, k=3, comparison="<")
    with pytest.raises(ValueError, match="not finite"):
        neighbourhoods(FAKE * torch.nan, REAL, k=3, comparison="<")


def lattice(count: int, seed: int) -> Tensor:
    """Points with nearly every distance a tie, and duplicates, far from the origin."""
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 3, (count, 4)).astype(np.float64) + 1e4)


@pytest.mark.usefixtures("passes")
@pytest.mark.parametrize("tile", [7, 4096])
@pytest.mark.parametrize(("points", "centres"), [(FAKE, REAL), (lattice(60, 0), lattice(80, 1))])
def test_ball_counts_equal_all_distances_at_once(points: Tensor, centres: Tensor, tile: int) -> None:
    radii = squared_radii(centres, k=3)
    distances = (points[:, None] - centres).square().sum(2)
    strict, closed = ball_counts(points, centres, [Balls(radii, "<"), Balls(radii, "<=")], tile=tile)
    for found, inside in ((strict, distances < radii), (closed, distances <= radii)):
        assert torch.equal(found.of_points, inside.sum(1))
        assert torch.equal(found.of_balls, inside.sum(0))


@pytest.mark.parametrize("tile", [7, 4096])
@pytest.mark.parametrize(("points", "among"), [(FAKE, REAL), (lattice(60, 0), lattice(80, 1))])
def test_nearest_rows_equal_all_distances_at_once(points: Tensor, among: Tensor, tile: int) -> None:
    distances = (points[:, None] - among).square().sum(2)
    found = nearest_rows(points, among, k=5, tile=tile)
    torch.testing.assert_close(found.squared, distances.sort(1).values[:, :5], rtol=1e-12, atol=0)
    torch.testing.assert_close(distances.gather(1, found.index), found.squared, rtol=1e-12, atol=0)


def test_a_row_is_not_its_own_neighbour_and_a_duplicate_is() -> None:
    points = torch.cat([REAL, REAL[:2]])
    rows = torch.tensor([0, 1, 5, 401])
    found = nearest_rows(points[rows], points, k=2, own_rows=rows, tile=90)
    assert found.index[:, 0].tolist()[:2] + [found.index[3, 0].item()] == [400, 401, 1]
    assert found.squared[[0, 1, 3], 0].tolist() == [0, 0, 0]
    assert (found.index != rows[:, None]).all()
    assert found.squared[2, 0] == squared_radii(REAL, k=1)[5]
    with pytest.raises(ValueError, match="there are 2 images to search, too few for 3 neighbours"):
        nearest_rows(FAKE[:3], FAKE[:3], k=3, own_rows=torch.arange(3))
