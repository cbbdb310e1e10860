"""Verdicts on claims, computed from given measurements."""

from collections.abc import Sequence

import pytest

from gconv_gan.config.ablations import BetterClaim, CheaperClaim, GrowthClaim, NearClaim, RangeClaim
from gconv_gan.experiments.claims import ArmResult, Finding, in_short, judge, overall


def arm(
    accuracy: Sequence[float], *, parameters: int = 100, macs: int = 100, seeds: tuple[int, ...] = (0, 1, 2), **measures: Sequence[float]
) -> ArmResult:
    values = {"accuracy": accuracy, **measures}
    scores = {seed: {name: float(found[i]) for name, found in values.items()} for i, seed in enumerate(seeds[: len(accuracy)])}
    return ArmResult(parameters=parameters, macs=macs, step_seconds=1.0, memory=100, scores=scores)


BETTER = BetterClaim(arm="new", against="old")


@pytest.mark.parametrize(
    ("new", "verdict"),
    [
        ((0.72, 0.73, 0.715), "holds"),  # differences 2.0, 2.2, 1.6 points
        ((0.705, 0.71, 0.695), "undecided"),  # 0.5, 0.2, -0.4
        ((0.70, 0.70, 0.69), "does not hold"),  # 0, -0.8, -0.9
        ((0.68, 0.69, 0.68), "does not hold"),
    ],
)
def test_verdicts_of_a_claim_of_a_better_measure(new: tuple[float, ...], verdict: str) -> None:
    found = judge(BETTER, {"new": arm(new), "old": arm((0.70, 0.708, 0.699))})
    assert found.verdict == verdict
    assert found.claim == "new is better than old in accuracy"
    assert "n = 3" in found.measured


def test_the_differences_are_within_seeds_and_of_common_seeds() -> None:
    new, old = arm((0.9, 0.5, 0.7), seeds=(2, 0, 1)), arm((0.49, 0.69, 0.89, 0.1), seeds=(0, 1, 2, 3))
    found = judge(BETTER, {"new": new, "old": old})
    assert found.verdict == "holds"
    assert "difference +1.00 points (single seeds +1.00 points, +1.00 points, +1.00 points), 95 % bootstrap" in found.measured
    assert "95 % bootstrap interval [+1.00 points, +1.00 points]; one-sided paired t-test: n = 3" in found.measured


def test_an_interval_that_excludes_zero_beside_an_undecided_test_is_labelled_and_the_seeds_are_named() -> None:
    new, old = arm((0.5327, 0.5065, 0.5146)), arm((0.5, 0.5, 0.5))
    found = judge(BETTER, {"new": new, "old": old})
    assert found.verdict == "undecided"
    assert "(single seeds +3.27 points, +0.65 points, +1.46 points), 95 % bootstrap interval [+0.65 points," in found.measured
    six = tuple(range(6))
    many = judge(BETTER, {"new": arm((0.6, 0.7) * 3, seeds=six), "old": arm((0.5,) * 6, seeds=six)})
    assert "single seeds" not in many.measured


def test_a_lower_loss_is_better() -> None:
    claim = BetterClaim(arm="new", against="old", measure="loss")
    arms = {"new": arm((0, 0, 0), loss=(0.9, 0.8, 0.85)), "old": arm((0, 0, 0), loss=(1.0, 0.95, 0.99))}
    found = judge(claim, arms)
    assert found.verdict == "holds"
    assert "difference -0.130 (single seeds -0.100, -0.150, -0.140), 95 % bootstrap interval [-0.150, -0.100];" in found.measured


def test_near_means_worse_by_less_than_the_margin() -> None:
    claim = NearClaim(arm="new", against="old", margin=0.02)
    old = arm((0.70, 0.71, 0.70))
    assert judge(claim, {"new": arm((0.695, 0.705, 0.694)), "old": old}).verdict == "holds"
    assert judge(claim, {"new": arm((0.66, 0.67, 0.67)), "old": old}).verdict == "does not hold"
    assert "worse than old in accuracy by less than 2.00 points" in judge(claim, {"new": old, "old": old}).claim


def test_of_several_baselines_the_best_one_counts() -> None:
    claim = BetterClaim(arm="new", against=("slow", "fast"))
    arms = {"new": arm((0.72, 0.73, 0.72)), "slow": arm((0.5, 0.5, 0.5)), "fast": arm((0.74, 0.75, 0.735))}
    found = judge(claim, arms)
    assert found.claim == "new is better than fast, the best of slow, fast, in accuracy"
    assert found.verdict == "does not hold"
    assert judge(claim, arms | {"fast": arm((0.1, 0.1, 0.9))}).verdict == "holds"
    assert in_short(claim, arms).startswith("new 72.33 ± 0.58 % against fast 74.17")
    lower = BetterClaim(arm="new", against=("slow", "fast"), measure="loss")
    losses = {name: arm((0, 0, 0), loss=values) for name, values in {"new": (1, 1, 1), "slow": (2, 2, 2), "fast": (1.5, 1.5, 1.5)}.items()}
    assert "better than fast, the best of" in judge(lower, losses).claim


def test_a_range_must_hold_with_every_seed() -> None:
    claim = RangeClaim(arms=("new", "old"), measure="gradinit.classifier_scale", at_least=0.9, at_most=1.3)
    arms = {name: arm((0, 0, 0), **{"gradinit.classifier_scale": (1.0, 1.1, last)}) for name, last in (("new", 1.2), ("old", 1.3))}
    found = judge(claim, arms)
    assert found == Finding(
        claim="classifier scale of new and old is from 0.9 to 1.3 with every seed", measured="1, 1.1, 1.2, 1, 1.1, 1.3", verdict="holds"
    )
    assert judge(claim.model_copy(update={"at_most": 1.25}), arms).verdict == "does not hold"
    accurate = RangeClaim(arms=("new",), at_least=0.5)
    assert judge(accurate, {"new": arm((0.5, 0.6, 0.71))}).measured == "50.0 %, 60.0 %, 71.0 %"
    assert judge(accurate, {"new": arm((0.5, 0.6, 0.71))}).claim == "accuracy of new is at least 50.0 % with every seed"
    assert in_short(accurate, {"new": arm((0.5, 0.4, 0.71))}) == "accuracy of new: 50.0 %, 40.0 %, 71.0 %"


def test_claims_about_counts_need_no_test() -> None:
    arms = {"new": arm((0.7, 0.7), macs=55), "old": arm((0.7, 0.7), macs=100)}
    claim = CheaperClaim(arm="new", against="old", cost="macs", at_most=0.6)
    assert judge(claim, arms) == Finding(claim="new takes at most 0.6 of the MACs of old", measured="0.550", verdict="holds")
    assert judge(claim.model_copy(update={"at_most": 0.5}), arms).verdict == "does not hold"


def test_growth_is_the_power_of_the_width() -> None:
    arms = {name: arm((0.7, 0.7), parameters=count) for name, count in (("a", 1000), ("b", 2100), ("c", 4300), ("d", 17_200))}
    linear = GrowthClaim(arms=("a", "b", "c"), exponent=1, tolerance=0.1)
    assert judge(linear, arms).verdict == "holds"
    assert judge(linear.model_copy(update={"arms": ("c", "d")}), arms).verdict == "does not hold"
    assert judge(linear, arms).measured == "exponents 1.070, 1.034"


def test_all_claims_must_hold() -> None:
    holds, open_, fails = (Finding(claim="", measured="", verdict=verdict) for verdict in ("holds", "undecided", "does not hold"))
    assert overall([holds, holds]) == "holds"
    assert overall([holds, open_]) == "undecided"
    assert overall([open_, fails, holds]) == "does not hold"


def test_the_short_form_is_over_common_seeds() -> None:
    arms = {"new": arm((0.72, 0.73, 0.74)), "old": arm((0.1, 0.70, 0.71, 0.72), seeds=(9, 0, 1, 2), loss=(0, 1, 1, 1.5))}
    assert in_short(BETTER, arms) == "new 73.00 ± 1.00 % against old 71.00 ± 1.00 %: p = 0.000, 3 seeds"
    losses = arms | {"new": arm((0, 0, 0), loss=(0.5, 0.75, 1.0))}
    said = in_short(BetterClaim(arm="new", against="old", measure="loss"), losses)
    assert said.startswith("loss, new 0.750 ± 0.250 against old 1.167 ± 0.289: p = 0.0")
    costs = {"new": arm((0.7, 0.7), macs=55), "old": arm((0.7, 0.7), macs=100)}
    assert in_short(CheaperClaim(arm="new", against="old", cost="macs", at_most=0.6), costs) == "MACs ×0.550"
    growing = {"a": arm((0.7, 0.7), parameters=1000), "b": arm((0.7, 0.7), parameters=2000)}
    assert in_short(GrowthClaim(arms=("a", "b"), exponent=2, tolerance=0.1), growing) == "parameters of a, b: exponents 1.000"


def test_the_published_number_stands_beside_the_measured_one() -> None:
    claim = BetterClaim(arm="new", against="old", published="93.7 against 93.6 %")
    found = judge(claim, {"new": arm((0.72, 0.73, 0.715)), "old": arm((0.70, 0.708, 0.699))})
    assert (found.published, found.verdict) == ("93.7 against 93.6 %", "holds")


def test_a_claim_about_runs_of_which_too_few_have_scores_is_undecided() -> None:
    arms = {"new": arm((0.72, 0.73, 0.715)), "old": arm((0.7,)), "lost": arm(())}
    assert judge(BETTER, arms).verdict == "undecided"
    assert judge(BETTER, arms).measured == in_short(BETTER, arms) == "1 seeds of both"
    assert judge(RangeClaim(arms=("lost",), at_least=0.5), arms).verdict == "undecided"
    assert (
        judge(BetterClaim(arm="new", against=("lost", "old")), arms).claim == "new is better than old, the best of lost, old, in accuracy"
    )


def test_a_gans_first_score_is_claimed_and_a_lower_distance_is_better() -> None:
    scores = {"new": (400.0, 410.0, 402.0), "old": (450.0, 470.0, 444.0)}
    arms = {
        name: ArmResult(parameters=1, macs=1, step_seconds=1.0, memory=None, scores={seed: {"fd": v} for seed, v in enumerate(values)})
        for name, values in scores.items()
    }
    found = judge(BETTER, arms)
    assert (found.claim, found.verdict) == ("new is better than old in fd", "holds")
    assert in_short(BETTER, arms).startswith("fd, new 404.000 ± 5.292 against old 454.667 ±")
