"""Symmetric label noise: the number and choice of wrong labels, and their distribution."""

import numpy as np
import pytest

from gconv_gan.data.batches.label_noise import symmetric_noise

LABELS = np.repeat(np.arange(10), 1000)


@pytest.mark.parametrize("fraction", [0.0, 0.2, 0.4, 1.0])
def test_exactly_the_fraction_is_wrong(fraction: float) -> None:
    noisy = symmetric_noise(LABELS, fraction=fraction, num_classes=10, seed=3)
    assert (noisy != LABELS).sum() == round(fraction * 10_000)
    assert noisy.min() >= 0
    assert noisy.max() <= 9


def test_the_wrong_labels_are_uniform_over_the_other_classes() -> None:
    noisy = symmetric_noise(LABELS, fraction=0.9, num_classes=10, seed=3)
    matrix = np.zeros((10, 10))
    np.add.at(matrix, (LABELS, noisy), 1)
    wrong = matrix[~np.eye(10, dtype=bool)]  # 9,000 in 90 cells of 100 each; chi-squared with about 89 degrees of freedom
    assert 50 < ((wrong - 100) ** 2 / 100).sum() < 140  # outside in about one seed of a thousand


def test_labels_are_a_function_of_the_seed_and_the_input_is_unchanged() -> None:
    before = LABELS.copy()
    a, b, again = (symmetric_noise(LABELS, fraction=0.4, num_classes=10, seed=seed) for seed in (0, 1, 0))
    assert np.array_equal(a, again)
    assert not np.array_equal(a, b)
    assert np.array_equal(LABELS, before)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="share from 0 to 1"):
        symmetric_noise(LABELS, fraction=40.0, num_classes=10, seed=0)
    with pytest.raises(ValueError, match="no wrong label"):
        symmetric_noise(LABELS, fraction=0.1, num_classes=1, seed=0)
