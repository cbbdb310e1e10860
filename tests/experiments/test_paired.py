"""Paired comparison of two methods over seeds."""

import numpy as np
import pytest
from scipy import stats

from gconv_gan.experiments.paired import PairedTest, holm, least_p_signs, paired_test, pairs_needed

OURS, BASE = [0.81, 0.83, 0.82, 0.84], [0.80, 0.82, 0.82, 0.82]


def difference(first: list[float], second: list[float]) -> PairedTest:
    return paired_test([x - y for x, y in zip(first, second, strict=True)])


def test_the_published_example() -> None:
    found = difference(OURS, BASE)
    assert found.n == 4
    assert found.mean == pytest.approx(0.01)
    assert found.t() == pytest.approx(2.449, abs=5e-4)
    assert found.p_greater() == pytest.approx(0.0459, abs=5e-5)


def test_it_equals_scipys_one_sided_test() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        a, b = rng.normal(size=(2, 6))
        theirs = stats.ttest_rel(a, b, alternative="greater")
        ours = difference(a.tolist(), b.tolist())
        assert (ours.t(), ours.p_greater()) == pytest.approx((theirs.statistic, theirs.pvalue))
        assert ours.deviation == pytest.approx(np.std(a - b, ddof=1))


def test_a_margin_asks_whether_it_is_not_worse_by_more() -> None:
    within = difference(BASE, OURS)
    theirs = stats.ttest_1samp(np.subtract(BASE, OURS), -0.05, alternative="greater")
    assert (within.t(0.05), within.p_greater(0.05)) == pytest.approx((theirs.statistic, theirs.pvalue))
    assert within.mean == pytest.approx(-0.01)
    assert within.p_greater(0.05) < 0.05 < within.p_greater()


def test_swapping_the_methods_negates_differences_and_interval() -> None:
    one, other = difference(OURS, BASE), difference(BASE, OURS)
    assert other.mean == pytest.approx(-one.mean)
    assert other.p_greater() == pytest.approx(1 - one.p_greater())
    assert other.bootstrap == pytest.approx((-one.bootstrap[1], -one.bootstrap[0]), abs=1e-3)


def test_the_interval_is_that_of_all_resamples() -> None:
    differences = np.subtract(OURS, BASE)
    means = [np.mean([differences[i] for i in index]) for index in np.ndindex(4, 4, 4, 4)]  # all 256 are equally likely
    found = difference(OURS, BASE)
    assert found.bootstrap == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])), abs=1.3e-3)
    assert found.bootstrap == difference(OURS, BASE).bootstrap


def test_equal_differences_have_p_0_or_1() -> None:
    assert difference([0.3, 0.4], [0.2, 0.3]).p_greater() == 0
    assert difference([0.2, 0.3], [0.3, 0.4]).p_greater() == 1
    assert difference([0.2, 0.3], [0.2, 0.3]).p_greater() == 1


def test_signs_of_many_pairs_are_drawn() -> None:
    differences = np.random.default_rng(1).normal(0.3, 1.0, 21)
    exact = stats.permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=50_000, rng=2).pvalue
    assert paired_test(differences.tolist()).p_signs == pytest.approx(exact, abs=0.01)
    assert paired_test(np.ones(21).tolist()).p_signs == pytest.approx(least_p_signs(21), abs=3e-5)
    for n in (3, 20):
        assert paired_test(np.arange(1.0, n + 1).tolist()).p_signs == least_p_signs(n) == 2 / 2**n


def test_the_two_sided_test_equals_the_published_example() -> None:
    found = paired_test((-2.1, -1.3, -0.4, -1.8, 0.2))
    assert found.p == pytest.approx(stats.ttest_1samp(found.differences, 0).pvalue, rel=1e-12)
    assert found.interval == pytest.approx((-2.275, 0.115), abs=1e-3)
    assert found.p_signs == 0.125
    assert paired_test((1.0, 1.0, 1.0)).p_signs == 0.25
    assert (paired_test((1.0, 1.0)).p, paired_test((0.0, 0.0)).p) == (0.0, 1.0)
    with pytest.raises(ValueError, match="at least two pairs, not 1"):
        paired_test((1.0,))


def test_holms_correction_and_the_pairs_that_an_effect_needs() -> None:
    assert holm((0.01, 0.04, 0.03, 0.005)) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert [pairs_needed(effect) for effect in (0.5, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0)] == [34, 15, 10, 6, 5, 4, 3]
    assert pairs_needed(0.01, most=100) is None
