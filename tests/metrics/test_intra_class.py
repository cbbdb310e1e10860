"""Intra-class distance: known shifts of each class, labels that matter, and the sizes of classes."""

import pytest
import torch

from gconv_gan.metrics.frechet import frechet_distance
from gconv_gan.metrics.intra_class import class_sizes, intra_class_distances
from gconv_gan.metrics.statistics import moments_of

_draw = torch.Generator().manual_seed(0)
REAL = torch.randn(120, 5, generator=_draw, dtype=torch.float64) * torch.linspace(0.5, 2, 5, dtype=torch.float64)
LABELS = torch.arange(120) % 3
SHIFTS = torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64)


def test_the_distance_of_a_shifted_class_is_its_squared_shift() -> None:
    fake = REAL + SHIFTS[LABELS, None]  # all five coordinates
    found = intra_class_distances(fake, LABELS, REAL, LABELS, num_classes=3)
    assert found == pytest.approx((0, 5, 45), abs=1e-8)


def test_swapped_classes_have_distances_though_the_sets_are_equal() -> None:
    real = REAL + 10 * LABELS[:, None]
    swapped = (LABELS + 1) % 3
    assert frechet_distance(moments_of(real), moments_of(real)) == pytest.approx(0, abs=1e-8)
    assert min(intra_class_distances(real, swapped, real, LABELS, num_classes=3)) > 100


def test_both_forms_of_the_distance_are_used() -> None:
    """Class 0 has fewer fakes than features, class 1 more."""
    labels = (torch.arange(120) >= 4).long()
    found = intra_class_distances(REAL[:60] + 1, labels[:60], REAL, LABELS.clamp_max(1), num_classes=2)
    for index in range(2):
        fake, real = REAL[:60][labels[:60] == index] + 1, REAL[LABELS.clamp_max(1) == index]
        assert found[index] == pytest.approx(frechet_distance(moments_of(fake), moments_of(real)), rel=1e-9)


def test_class_sizes_and_refusal() -> None:
    assert class_sizes(torch.tensor([2, 0, 2]), 4) == (1, 0, 2, 0)
    with pytest.raises(ValueError, match="at least two"):
        intra_class_distances(REAL, LABELS, REAL, LABELS, num_classes=4)
