"""Memorisation: constants, the exact null distribution, what planted copies and a narrower generator change, and refusals."""

import numpy as np
import pytest
import torch
from torch import Tensor

from gconv_gan.metrics.memorisation import CopyTest, authenticity, balanced, calibrated_distances, copy_test, nearest_counts
from gconv_gan.metrics.neighbours import nearest_rows

_draw = np.random.RandomState(9)  # noqa: NPY002  (the constants are defined by this stream)
TRAIN, HELD_OUT, FAKE = (torch.from_numpy(_draw.randn(n, 16)) for n in (500, 500, 400))
COPIED = torch.cat([TRAIN[:40] + 0.05 * torch.from_numpy(_draw.randn(40, 16)), FAKE[40:]])


def normal(seed: int, count: int, dim: int = 16) -> Tensor:
    return torch.randn(count, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_constants() -> None:
    found, copied = copy_test(FAKE, TRAIN, HELD_OUT), copy_test(COPIED, TRAIN, HELD_OUT)
    assert (found.share, copied.share) == (0.5325, 0.5725)
    assert found.standard_error == pytest.approx(0.0292763920, abs=1e-9)
    assert copied.standard_error == pytest.approx(0.0287371854, abs=1e-9)
    assert copied.p_value < 0.025 < found.p_value
    assert found.interval == pytest.approx((0.5325 - 1.96 * found.standard_error, 0.5325 + 1.96 * found.standard_error))


def test_exchanging_the_sets_gives_the_other_share() -> None:
    assert copy_test(FAKE, HELD_OUT, TRAIN).share == pytest.approx(1 - 0.5325)
    assert copy_test(TRAIN, TRAIN, HELD_OUT).share == 1
    assert copy_test(HELD_OUT, TRAIN, HELD_OUT).share == 0
    assert copy_test(FAKE, TRAIN, TRAIN).share == 0.5  # every distance is a tie


def test_standard_error_and_p_value_are_those_of_random_splits() -> None:
    """The definition: all images in one pool, cut into halves at random."""
    counts = nearest_counts(FAKE, TRAIN, HELD_OUT).numpy()
    draws = np.random.default_rng(1)
    shares = np.array([draws.permutation(counts)[:500].sum() / 400 for _ in range(20_000)])
    found = copy_test(COPIED, TRAIN, HELD_OUT)
    assert shares.mean() == pytest.approx(0.5, abs=1e-3)
    assert shares.std() == pytest.approx(copy_test(FAKE, TRAIN, HELD_OUT).standard_error, rel=0.02)
    of_copies = nearest_counts(COPIED, TRAIN, HELD_OUT).numpy()
    beyond = np.mean([draws.permutation(of_copies)[:500].sum() / 400 >= found.share for _ in range(20_000)])
    assert found.p_value == pytest.approx(beyond, abs=0.003)


def test_the_interval_covers_one_half_without_memory() -> None:
    """A binomial interval of 400 fakes against 400 + 400 images in 32 dimensions covers it in 75 to 85 % of the cases."""
    found = [copy_test(*(normal(3 * seed + i, 400, 32) for i in range(3)), permutations=100) for seed in range(100)]
    covered = np.mean([low <= 0.5 <= high for low, high in (one.interval for one in found)])
    assert covered >= 0.89
    assert np.mean([one.share for one in found]) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("scale", [0.8, 1.2])
def test_a_narrower_or_wider_generator_is_no_copy(scale: float) -> None:
    found = copy_test(scale * normal(0, 2000), normal(1, 2000), normal(2, 2000), permutations=200)
    assert abs(found.share - 0.5) < 3 * found.standard_error


def test_planted_copies_are_found_and_counted() -> None:
    train = normal(1, 2000)
    fake = torch.cat([train[:200] + 0.01, normal(0, 1800)])
    found = copy_test(fake, train, normal(2, 2000), permutations=2000)
    assert found.p_value < 0.001
    assert found.excess == pytest.approx(0.1, abs=found.detectable)


def test_classes_split_by_class() -> None:
    strata = torch.arange(500) % 2
    far = 100 * strata[:, None].double()
    found = copy_test(FAKE, TRAIN + far, HELD_OUT + far, strata=strata)
    one_class = copy_test(FAKE, (TRAIN + far)[strata == 0], (HELD_OUT + far)[strata == 0])
    assert (found.share, found.standard_error) == pytest.approx((one_class.share, one_class.standard_error))
    unaware = copy_test(FAKE, TRAIN + far, HELD_OUT + far)
    assert unaware.standard_error > found.standard_error


def test_the_balanced_choice_takes_as_many_of_each_class() -> None:
    labels = torch.arange(500) % 3, torch.arange(90) % 2
    chosen = balanced(500, 90, labels, seed=0)
    assert chosen.strata.bincount().tolist() == [45, 45]
    assert torch.equal(labels[0][chosen.train], chosen.strata)
    assert torch.equal(labels[1][chosen.held_out], chosen.strata)
    assert len(chosen.train.unique()) == 90
    whole = balanced(500, 90, None, seed=0)
    assert (len(whole.train.unique()), whole.held_out.sort().values.tolist()) == (90, list(range(90)))
    assert not torch.equal(whole.train, balanced(500, 90, None, seed=1).train)
    with pytest.raises(ValueError, match="fewer than two images"):
        balanced(4, 4, (torch.zeros(4).long(), torch.ones(4).long()), seed=0)


def test_authenticity_equals_its_definition() -> None:
    distances, among = torch.cdist(FAKE, TRAIN), torch.cdist(TRAIN, TRAIN).fill_diagonal_(torch.inf)
    nearest = distances.min(1)
    expected = (nearest.values > among.min(1).values[nearest.indices]).double().mean()
    assert authenticity(nearest_rows(FAKE, TRAIN, k=1), TRAIN) == pytest.approx(float(expected))
    assert authenticity(nearest_rows(TRAIN, TRAIN, k=1), TRAIN) == 0


def test_calibrated_distances_put_copies_first() -> None:
    found = calibrated_distances(nearest_rows(COPIED, TRAIN, k=50))
    assert found[:40].max() < 0.2 < 1 < found[40:].min()
    assert found.max() <= 2


def test_refusals() -> None:
    with pytest.raises(ValueError, match="equally many images are needed on both sides, at least two: got 500 and 499"):
        copy_test(FAKE, TRAIN, HELD_OUT[1:])


def test_numbers_of_a_test() -> None:
    found = CopyTest(share=0.55, standard_error=0.01, p_value=0.1, fakes=10, images=10)
    assert (found.excess, found.detectable) == pytest.approx((0.1, 0.0392))
