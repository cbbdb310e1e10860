"""Verdicts on the claims of a comparison, from its measurements.

A statistical claim *holds* if the one-sided paired t-test over seeds has p ≤ 0.05; it *does not hold* if the test of the opposite
claim has, or if the mean difference has the wrong sign; otherwise it is *undecided*. A claim about counts needs no test. The
bootstrap interval is reported but not used: with few seeds it is too narrow, and may exclude 0 although the test is undecided.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Literal

from gconv_gan.config.base import Config
from gconv_gan.config.sections.comparisons import BetterClaim, CheaperClaim, Claim, Cost, GrowthClaim, Measure, NearClaim, RangeClaim
from gconv_gan.experiments.paired import LEVEL, PairedTest, paired_test

FEW_SEEDS = 5  # up to this number, the differences of the seeds are listed: a bootstrap interval of so few is too narrow
LOWER_IS_BETTER = ("loss", "calibration_error")

Verdict = Literal["holds", "undecided", "does not hold"]


class ArmResult(Config):
    """Costs and measures of one arm."""

    parameters: int
    macs: int
    """Per image."""
    step_seconds: float
    """Median of a training step."""
    step_bytes: int
    """Peak memory of a training step."""
    seeds: tuple[int, ...]
    measures: dict[str, tuple[float, ...]]
    """One number per seed; ``KIND.NAME`` is a number that a training method reported."""


class Finding(Config):
    """A claim, the measured numbers, and the verdict."""

    claim: str
    measured: str
    verdict: Verdict


def judge(claim: Claim, arms: Mapping[str, ArmResult]) -> Finding:
    """Return the verdict on ``claim`` from the measurements of ``arms``."""
    match claim:
        case BetterClaim() | NearClaim():
            return _statistical(claim, arms)
        case RangeClaim():
            values = [value for arm in claim.arms for value in arms[arm].measures[claim.measure]]
            low, high = (-math.inf if claim.at_least is None else claim.at_least), (math.inf if claim.at_most is None else claim.at_most)
            holds = all(low <= value <= high for value in values)
            said = f"{_words(claim.measure)} of {' and '.join(claim.arms)} is {_bounds(claim)} with every seed"
            return Finding(claim=said, measured=_values(claim.measure, values), verdict="holds" if holds else "does not hold")
        case CheaperClaim():
            ratio = _cost(arms[claim.proposed], claim.cost) / _cost(arms[claim.baseline], claim.cost)
            said = f"{claim.proposed} takes at most {claim.at_most:g} of the {_words(claim.cost)} of {claim.baseline}"
            return Finding(claim=said, measured=f"{ratio:.3f}", verdict="holds" if ratio <= claim.at_most else "does not hold")
        case GrowthClaim():
            costs = [_cost(arms[arm], claim.cost) for arm in claim.arms]
            exponents = [math.log2(b / a) for a, b in zip(costs, costs[1:], strict=False)]
            holds = all(abs(exponent - claim.exponent) <= claim.tolerance for exponent in exponents)
            said = f"{_words(claim.cost)} grow as width^{claim.exponent:g} (±{claim.tolerance:g}) over {', '.join(claim.arms)}"
            measured = "exponents " + ", ".join(f"{exponent:.3f}" for exponent in exponents)
            return Finding(claim=said, measured=measured, verdict="holds" if holds else "does not hold")


def overall(findings: Sequence[Finding]) -> Verdict:
    """Return the verdict on several claims that must all hold: the worst of theirs."""
    verdicts = {finding.verdict for finding in findings}
    return "does not hold" if "does not hold" in verdicts else "undecided" if "undecided" in verdicts else "holds"


def in_short(claim: Claim, arms: Mapping[str, ArmResult]) -> str:
    """Return the measurements for ``claim`` in one phrase: means and deviations of both arms and the p-value, or the cost."""
    match claim:
        case BetterClaim() | NearClaim():
            name = baseline_of(claim, arms)
            shares = _over_common_seeds(arms[claim.proposed], arms[name], claim.measure)
            proposed, baseline = (_spread(claim.measure, values) for values in shares)
            found = _difference(claim, arms)
            what = "" if claim.measure == "accuracy" else f"{_words(claim.measure)}, "
            p = found.p_greater(_margin(claim))
            return f"{what}{claim.proposed} {proposed} against {name} {baseline}: p = {p:.3f}, {found.n} seeds"
        case RangeClaim():
            return f"{_words(claim.measure)} of {', '.join(claim.arms)}: {judge(claim, arms).measured}"
        case CheaperClaim():
            return f"{_words(claim.cost)} ×{judge(claim, arms).measured}"
        case GrowthClaim():
            return f"{_words(claim.cost)} of {', '.join(claim.arms)}: {judge(claim, arms).measured}"


def baseline_of(claim: BetterClaim | NearClaim, arms: Mapping[str, ArmResult]) -> str:
    """Return the arm of comparison: of several the one with the best mean."""
    if isinstance(claim.baseline, str):
        return claim.baseline
    return max(claim.baseline, key=lambda name: _sign(claim.measure) * statistics.fmean(arms[name].measures[claim.measure]))


def is_share(measure: str) -> bool:
    """Return whether a measure is a share, shown in percent."""
    return measure != "loss" and "." not in measure


def _bounds(claim: RangeClaim) -> str:
    low, high = (None if bound is None else _value(claim.measure, bound) for bound in (claim.at_least, claim.at_most))
    return f"at most {high}" if low is None else f"at least {low}" if high is None else f"from {low} to {high}"


def _value(measure: Measure, value: float) -> str:
    return f"{100 * value:.1f} %" if is_share(measure) else f"{value:.3g}"


def _values(measure: Measure, values: Sequence[float]) -> str:
    return ", ".join(_value(measure, value) for value in values)


def _spread(measure: Measure, values: Sequence[float]) -> str:
    scale, digits, unit = (100, 2, " %") if is_share(measure) else (1, 3, "")
    return f"{scale * statistics.fmean(values):.{digits}f} ± {scale * statistics.stdev(values):.{digits}f}{unit}"


def _sign(measure: Measure) -> float:
    return -1.0 if measure in LOWER_IS_BETTER else 1.0


def _difference(claim: BetterClaim | NearClaim, arms: Mapping[str, ArmResult]) -> PairedTest:
    """Return the differences, proposed arm minus baseline, of the seeds that both have, positive if the proposed arm is better."""
    first, second = _over_common_seeds(arms[claim.proposed], arms[baseline_of(claim, arms)], claim.measure)
    sign = _sign(claim.measure)
    return paired_test([sign * (x - y) for x, y in zip(first, second, strict=True)])


def _margin(claim: BetterClaim | NearClaim) -> float:
    return claim.margin if isinstance(claim, NearClaim) else 0.0


def _statistical(claim: BetterClaim | NearClaim, arms: Mapping[str, ArmResult]) -> Finding:
    found, margin = _difference(claim, arms), _margin(claim)
    p = found.p_greater(margin)
    if p <= LEVEL:
        verdict: Verdict = "holds"
    elif found.mean + margin <= 0 or p >= 1 - LEVEL:
        verdict = "does not hold"
    else:
        verdict = "undecided"
    words, baseline = _words(claim.measure), baseline_of(claim, arms)
    if not isinstance(claim.baseline, str):
        baseline = f"{baseline}, the best of {', '.join(claim.baseline)},"
    if margin:
        said = f"{claim.proposed} is worse than {baseline} in {words} by less than {_shown(claim.measure, margin, signed=False)}"
    else:
        said = f"{claim.proposed} is better than {baseline} in {words}"
    return Finding(claim=said, measured=_measured(claim, found), verdict=verdict)


def _measured(claim: BetterClaim | NearClaim, found: PairedTest) -> str:
    """Return the mean difference, the differences of the seeds if they are few, the interval, and the test."""
    measure, margin, sign = claim.measure, _margin(claim), _sign(claim.measure)
    low, high = sorted(sign * bound for bound in found.bootstrap)
    seeds = ", ".join(_shown(measure, sign * one) for one in found.differences)
    single = f" (single seeds {seeds})" if found.n <= FEW_SEEDS else ""
    interval = f"95 % bootstrap interval [{_shown(measure, low)}, {_shown(measure, high)}]"
    test = f"one-sided paired t-test: n = {found.n}, t = {found.t(margin):.2f}, p = {found.p_greater(margin):.3f}"
    return f"difference {_shown(measure, sign * found.mean)}{single}, {interval}; {test}"


def _over_common_seeds(a: ArmResult, b: ArmResult, measure: Measure) -> tuple[list[float], list[float]]:
    common = [seed for seed in a.seeds if seed in b.seeds]
    return tuple([arm.measures[measure][arm.seeds.index(seed)] for seed in common] for arm in (a, b))  # type: ignore[return-value]


def _cost(arm: ArmResult, cost: Cost) -> float:
    return float(getattr(arm, cost))


def _words(name: str) -> str:
    return {
        "macs": "MACs",
        "step_seconds": "step time",
        "step_bytes": "memory",
        "calibration_error": "calibration error",
        "accuracy_gaussian": "accuracy under noise",
        "accuracy_fgsm": "accuracy under FGSM",
        "accuracy_pgd": "accuracy under PGD",
    }.get(name, name.rpartition(".")[2].replace("_", " "))


def _shown(measure: str, value: float, *, signed: bool = True) -> str:
    """Return a difference as text: in percentage points for accuracies, unchanged for other measures."""
    sign = "+" if signed else ""
    return f"{100 * value:{sign}.2f} points" if is_share(measure) else f"{value:{sign}.3f}"
