"""Verdicts on the claims of an ablation, from its measurements.

A statistical claim *holds* if the one-sided paired t-test over seeds has p ≤ 0.05; it *does not hold* if the test of the opposite
claim has, or if the mean difference has the wrong sign; otherwise it is *undecided*. A claim about counts needs no test. The
bootstrap interval is reported but not used: with few seeds it is too narrow, and may exclude 0 although the test is undecided.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Literal

from gconv_gan.config.ablations import BetterClaim, CheaperClaim, Claim, Cost, DifferenceConfig, GrowthClaim, NearClaim, RangeClaim
from gconv_gan.config.base import Config
from gconv_gan.experiments.paired import LEVEL, PairedTest, paired_test
from gconv_gan.metrics.tables import lower_is_better

FEW_SEEDS = 5  # up to this number, the differences of the seeds are listed: a bootstrap interval of so few is too narrow

Verdict = Literal["holds", "undecided", "does not hold"]


class ArmResult(Config):
    """Costs and scores of one arm."""

    parameters: int
    macs: int
    """Per image; a GAN's are those of its generator."""
    step_seconds: float
    """Seconds of a training step of a classifier, of an iteration of a GAN, alone."""
    memory: int | None
    """Peak bytes of a training step of a classifier, of a process that trains a GAN alone."""
    scores: dict[int, dict[str, float]]
    """Seed -> scores at the end; ``KIND.NAME`` is a number that a training method reported. None of a GAN that diverged; those of uniform
    predictions of a classifier that did."""
    diverged: tuple[int, ...] = ()
    """Seeds of the runs that ended by non-finite numbers."""
    curves: dict[int, dict[int, dict[str, float]]] = {}
    """Seed -> images seen -> scores."""

    def of(self, measure: str) -> dict[int, float]:
        """Return the values of a measure by seed."""
        return {seed: scores[measure] for seed, scores in self.scores.items() if measure in scores}

    @property
    def seeds(self) -> list[int]:
        """Return the seeds of all runs."""
        return sorted({*self.scores, *self.diverged})


class Finding(Config):
    """A claim, the published and the measured number, and the verdict."""

    claim: str
    published: str | None = None
    measured: str
    verdict: Verdict


def measures_of(arms: Mapping[str, ArmResult]) -> list[str]:
    """Return the names of all measures, the first of which is that of comparisons that name none."""
    return list(dict.fromkeys(name for arm in arms.values() for scores in arm.scores.values() for name in scores))


def measure_of(claim: BetterClaim | NearClaim | RangeClaim | DifferenceConfig, arms: Mapping[str, ArmResult]) -> str:
    """Return the measure that a comparison is about; "score" if no run has one."""
    return claim.measure or next(iter(measures_of(arms)), "score")


def judge(claim: Claim, arms: Mapping[str, ArmResult]) -> Finding:
    """Return the verdict on ``claim`` from the measurements of ``arms``."""
    return _judged(claim, arms).model_copy(update={"published": claim.published})


def _judged(claim: Claim, arms: Mapping[str, ArmResult]) -> Finding:
    match claim:
        case BetterClaim() | NearClaim():
            return _statistical(claim, arms)
        case RangeClaim():
            measure = measure_of(claim, arms)
            values = [value for arm in claim.arms for value in arms[arm].of(measure).values()]
            low, high = (-math.inf if claim.at_least is None else claim.at_least), (math.inf if claim.at_most is None else claim.at_most)
            holds = all(low <= value <= high for value in values)
            said = f"{_words(measure)} of {' and '.join(claim.arms)} is {_bounds(claim, measure)} with every seed"
            verdict: Verdict = "undecided" if not values else "holds" if holds else "does not hold"
            return Finding(claim=said, measured=_values(measure, values), verdict=verdict)
        case CheaperClaim():
            ratio = _cost(arms[claim.arm], claim.cost) / _cost(arms[claim.against], claim.cost)
            said = f"{claim.arm} takes at most {claim.at_most:g} of the {_words(claim.cost)} of {claim.against}"
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
            name, measure = baseline_of(claim, arms), measure_of(claim, arms)
            mine, theirs, seeds = common(arms[claim.arm], arms[name], measure)
            if len(seeds) < 2:
                return judge(claim, arms).measured
            what = "" if measure == "accuracy" else f"{_words(measure)}, "
            p = _difference(mine, theirs, measure).p_greater(_margin(claim))
            return f"{what}{claim.arm} {spread(measure, mine)} against {name} {spread(measure, theirs)}: p = {p:.3f}, {len(seeds)} seeds"
        case RangeClaim():
            return f"{_words(measure_of(claim, arms))} of {', '.join(claim.arms)}: {judge(claim, arms).measured}"
        case CheaperClaim():
            return f"{_words(claim.cost)} ×{judge(claim, arms).measured}"
        case GrowthClaim():
            return f"{_words(claim.cost)} of {', '.join(claim.arms)}: {judge(claim, arms).measured}"


def baseline_of(claim: BetterClaim | NearClaim | DifferenceConfig, arms: Mapping[str, ArmResult]) -> str:
    """Return the arm of comparison: of several the one with the best mean; one that has no value of the measure is the worst."""
    if isinstance(claim.against, str):
        return claim.against
    measure = measure_of(claim, arms)
    means = {name: _sign(measure) * statistics.fmean(found) for name in claim.against if (found := arms[name].of(measure).values())}
    return max(means or claim.against, key=lambda name: means.get(name, 0.0))


def is_share(measure: str) -> bool:
    """Return whether a measure is a share, shown in percent."""
    return measure.startswith("accuracy") or measure in ("top5", "calibration_error")


def common(a: ArmResult, b: ArmResult, measure: str) -> tuple[list[float], list[float], list[int]]:
    """Return the values of a measure of two arms over the seeds that both have, and these seeds."""
    mine, theirs = a.of(measure), b.of(measure)
    seeds = [seed for seed in mine if seed in theirs]
    return [mine[seed] for seed in seeds], [theirs[seed] for seed in seeds], seeds


def spread(measure: str, values: Sequence[float]) -> str:
    """Return the mean and, of several values, the standard deviation."""
    if not values:
        return "–"
    scale, digits, unit = (100, 2, " %") if is_share(measure) else (1, 3, "")
    deviation = f" ± {scale * statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{scale * statistics.fmean(values):.{digits}f}{deviation}{unit}"


def _bounds(claim: RangeClaim, measure: str) -> str:
    low, high = (None if bound is None else _value(measure, bound) for bound in (claim.at_least, claim.at_most))
    return f"at most {high}" if low is None else f"at least {low}" if high is None else f"from {low} to {high}"


def _value(measure: str, value: float) -> str:
    return f"{100 * value:.1f} %" if is_share(measure) else f"{value:.3g}"


def _values(measure: str, values: Sequence[float]) -> str:
    return ", ".join(_value(measure, value) for value in values) or "not measured"


def _sign(measure: str) -> float:
    return -1.0 if measure in lower_is_better() else 1.0


def _difference(mine: Sequence[float], theirs: Sequence[float], measure: str) -> PairedTest:
    """Return the differences, positive if the first arm is better."""
    sign = _sign(measure)
    return paired_test([sign * (x - y) for x, y in zip(mine, theirs, strict=True)])


def _margin(claim: BetterClaim | NearClaim) -> float:
    return claim.margin if isinstance(claim, NearClaim) else 0.0


def _statistical(claim: BetterClaim | NearClaim, arms: Mapping[str, ArmResult]) -> Finding:
    margin, measure, name = _margin(claim), measure_of(claim, arms), baseline_of(claim, arms)
    mine, theirs, seeds = common(arms[claim.arm], arms[name], measure)
    words = _words(measure)
    baseline = name if isinstance(claim.against, str) else f"{name}, the best of {', '.join(claim.against)},"
    if margin:
        said = f"{claim.arm} is worse than {baseline} in {words} by less than {_shown(measure, margin, signed=False)}"
    else:
        said = f"{claim.arm} is better than {baseline} in {words}"
    if len(seeds) < 2:
        return Finding(claim=said, measured=f"{len(seeds)} seeds of both", verdict="undecided")
    found = _difference(mine, theirs, measure)
    p = found.p_greater(margin)
    if p <= LEVEL:
        verdict: Verdict = "holds"
    elif found.mean + margin <= 0 or p >= 1 - LEVEL:
        verdict = "does not hold"
    else:
        verdict = "undecided"
    return Finding(claim=said, measured=_measured(measure, margin, found), verdict=verdict)


def _measured(measure: str, margin: float, found: PairedTest) -> str:
    """Return the mean difference, the differences of the seeds if they are few, the interval, and the test."""
    sign = _sign(measure)
    low, high = sorted(sign * bound for bound in found.bootstrap)
    seeds = ", ".join(_shown(measure, sign * one) for one in found.differences)
    single = f" (single seeds {seeds})" if found.n <= FEW_SEEDS else ""
    interval = f"95 % bootstrap interval [{_shown(measure, low)}, {_shown(measure, high)}]"
    test = f"one-sided paired t-test: n = {found.n}, t = {found.t(margin):.2f}, p = {found.p_greater(margin):.3f}"
    return f"difference {_shown(measure, sign * found.mean)}{single}, {interval}; {test}"


def _cost(arm: ArmResult, cost: Cost) -> float:
    return float(getattr(arm, cost) or math.nan)


def _words(name: str) -> str:
    return {
        "macs": "MACs",
        "step_seconds": "step time",
        "calibration_error": "calibration error",
        "accuracy_gaussian": "accuracy under noise",
        "accuracy_fgsm": "accuracy under FGSM",
        "accuracy_pgd": "accuracy under PGD",
    }.get(name, name.rpartition(".")[2].replace("_", " "))


def _shown(measure: str, value: float, *, signed: bool = True) -> str:
    """Return a difference as text: in percentage points for accuracies, unchanged for other measures."""
    sign = "+" if signed else ""
    return f"{100 * value:{sign}.2f} points" if is_share(measure) else f"{value:{sign}.3f}"
