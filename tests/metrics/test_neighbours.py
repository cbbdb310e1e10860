"""Precision, recall, density and coverage: constants, brute force, torch-fidelity, and the conventions of "inside"."""

import numpy as np
import pytest
import torch
from torch_fidelity.metric_prc import calculate_precision_recall_full

from gconv_gan.metrics.neighbours import neighbourhoods
from tests.reference.scores import neighbour_scores

_draw = np.random.RandomState(5)  # noqa: NPY002  (the constants are defined by this stream)
FAKE, REAL = torch.from_numpy(_draw.randn(300, 8)), torch.from_numpy(1.3 * _draw.randn(400, 8))


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
    if k == 3:
        assert found.f_score == pytest.approx(0.727794, abs=1e-6)


def test_equals_torch_fidelity() -> None:
    found = neighbourhoods(FAKE, REAL, k=3, comparison="<=")
    assert (found.precision, found.recall) == pytest.approx(calculate_precision_recall_full(FAKE, REAL, 3), abs=1e-7)


@pytest.mark.parametrize("comparison", ["<", "<="])
def test_ties_are_decided_exactly(comparison: str) -> None:
    """Points of a lattice: nearly every distance is a tie, and duplicates give balls of radius zero."""
    draw = np.random.default_rng(0)
    fake, real = (draw.integers(0, 3, (n, 4)).astype(np.float64) + 1e4 for n in (60, 80))
    for tile in (7, 100):
        found = neighbourhoods(torch.from_numpy(fake), torch.from_numpy(real), k=3, comparison=comparison, tile=tile)  # type: ignore[arg-type]
        expected = neighbour_scores(fake, real, 3, comparison)
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


def test_refusals() -> None:
    with pytest.raises(ValueError, match="3-th neighbour does not exist among 3"):
        neighbourhoods(FAKE[:3], REAL, k=3, comparison="<")
    with pytest.raises(ValueError, match="not finite"):
        neighbourhoods(FAKE * torch.nan, REAL, k=3, comparison="<")
