"""Stratified subsets."""

import numpy as np
import pytest

from gconv_gan.data.batches.subset import stratified

LABELS = np.array([0] * 40 + [1] * 20 + [2] * 10)
RNG = np.random.default_rng(0)
MIXED = RNG.permutation(LABELS)


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 1.0])
def test_every_class_contributes_its_share_and_the_parts_are_complete(fraction: float) -> None:
    taken, rest = stratified(MIXED, np.arange(70), fraction=fraction, seed=1, stream="subset")
    assert [int((MIXED[taken] == label).sum()) for label in range(3)] == [round(fraction * count) for count in (40, 20, 10)]
    assert np.array_equal(np.sort(np.concatenate([taken, rest])), np.arange(70))
    assert np.array_equal(taken, np.sort(taken))


def test_a_subset_of_a_subset_is_part_of_it() -> None:
    _, training = stratified(MIXED, np.arange(70), fraction=0.2, seed=1, stream="validation")
    less, _ = stratified(MIXED, training, fraction=0.5, seed=1, stream="subset")
    assert set(less) <= set(training)
    assert len(less) == 28


def test_the_choice_is_a_function_of_seed_and_stream() -> None:
    a, b, again, other = (
        stratified(MIXED, np.arange(70), fraction=0.5, seed=seed, stream=stream)[0].tolist()
        for seed, stream in ((0, "subset"), (1, "subset"), (0, "subset"), (0, "validation"))
    )
    assert a == again
    assert len({tuple(part) for part in (a, b, other)}) == 3
