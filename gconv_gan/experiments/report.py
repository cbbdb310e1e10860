"""The result of an ablation, stored as JSON and printed as text."""

import math
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

from gconv_gan.config.ablations import (
    AblationConfig,
    BetterClaim,
    CheaperClaim,
    Claim,
    DifferenceConfig,
    GrowthClaim,
    NearClaim,
    RangeClaim,
)  # fmt: skip
from gconv_gan.config.base import Config
from gconv_gan.config.load import validated
from gconv_gan.experiments.claims import (
    ArmResult,
    Finding,
    Verdict,
    baseline_of,
    common,
    in_short,
    judge,
    measure_of,
    measures_of,
    overall,
    spread,
)  # fmt: skip
from gconv_gan.experiments.paired import LEVEL, holm, least_p_signs, paired_test, pairs_needed
from gconv_gan.metrics.tables import lower_is_better

EFFECT = 0.05
"""Relative difference for which the required number of seeds is computed."""
TESTS = {"t": "p", "signs": "p_permutation"}
"""Test -> key of its p-value."""


class AblationResult(Config):
    """Arms, differences and claims of an ablation, and what they were measured with."""

    format: int = 2
    name: str
    question: str
    images: int
    """Images that each run was trained on."""
    asked_images: int
    """Images of the whole run."""
    protocol: str
    """Of the scores."""
    data: str
    """Title of the data set."""
    seconds: float
    primary: str | None
    """The score of comparisons that name none; None: no run has a score."""
    arms: dict[str, ArmResult]
    paired: tuple[dict[str, Any], ...]
    """Differences of all pairs of arms in all scores; those that are decided have a verdict."""
    test: str
    undecidable: str | None
    """Comparisons with too few seeds for the test."""
    findings: tuple[Finding, ...]
    """On the claims."""
    verdict: Verdict | None
    """On all of them; None: nothing is claimed."""
    config: dict[str, Any]
    versions: dict[str, str]
    command: str = ""
    """The command line that repeats the ablation."""
    runs: dict[str, dict[int, str]] = {}
    """Arm -> seed -> name of a GAN's run."""


def report(config: AblationConfig, arms: Mapping[str, ArmResult], facts: Mapping[str, Any]) -> AblationResult:
    """Return the result; a comparison without a measure is decided by the first score, the other scores are listed."""
    names = measures_of(arms)
    paired: dict[tuple[str, str, str], dict[str, Any]] = {}
    decided: list[dict[str, Any]] = []
    for comparison in config.compare:
        if not isinstance(comparison, DifferenceConfig | BetterClaim | NearClaim):
            continue
        arm, against, measure = comparison.arm, baseline_of(comparison, arms), measure_of(comparison, arms)
        for name in names:
            if (arm, against, name) not in paired and (found := _compared(arms[arm], arms[against], name)) is not None:
                paired[arm, against, name] = {"arm": arm, "against": against, **found}
        found = paired.get((arm, against, measure))
        if found is not None and found not in decided:
            decided.append(found)
    for key in TESTS.values():
        for found, adjusted in zip(decided, holm([found[key] for found in decided]), strict=True):
            found[f"{key}_holm"] = adjusted
    for found in decided:
        better = (found["mean"] < 0) == (found["score"] in lower_is_better())
        found["verdict"] = "undecided" if found[f"{TESTS[config.test]}_holm"] > LEVEL else "better" if better else "worse"
    findings = tuple(judge(claim, arms) for claim in claims_of(config))
    return AblationResult(
        name=config.name,
        question=config.question,
        primary=names[0] if names else None,
        arms=dict(arms),
        paired=tuple(paired.values()),
        test=config.test,
        undecidable=undecidable(decided) if config.test == "signs" else None,
        findings=findings,
        verdict=overall(findings) if findings else None,
        config=config.model_dump(mode="json"),
        **facts,
    )


def claims_of(config: AblationConfig) -> list[Claim]:
    """Return the comparisons that claim something."""
    return [comparison for comparison in config.compare if not isinstance(comparison, DifferenceConfig)]


def undecidable(pairs: Sequence[Mapping[str, Any]]) -> str | None:
    """Return a sentence that names the comparisons whose seeds are too few for the test by signs; None without such."""
    least = holm([least_p_signs(len(pair["seeds"])) for pair in pairs])
    few = [
        f"{pair['arm']} − {pair['against']} ({len(pair['seeds'])} seeds: p ≥ {p:.3f})"
        for pair, p in zip(pairs, least, strict=True)
        if p > LEVEL
    ]
    if not few:
        return None
    enough = next(n for n in count(2) if len(pairs) * least_p_signs(n) <= LEVEL)
    return f"too few seeds to decide by signs, at {LEVEL:g} after Holm's correction: {', '.join(few)}; {enough} seeds can"


def _compared(proposed: ArmResult, baseline: ArmResult, score: str) -> dict[str, Any] | None:
    """Return the comparison of two arms by a score over the seeds that both have; None below two."""
    mine, theirs, seeds = common(proposed, baseline, score)
    if len(seeds) < 2:
        return None
    pairs = list(zip(mine, theirs, strict=True))
    test = paired_test([first - second for first, second in pairs])
    found: dict[str, Any] = {
        "score": score,
        "mean": test.mean,
        "ci95": list(test.interval),
        "p": test.p,
        "p_permutation": test.p_signs,
        "seeds": seeds,
        "wins": sum((first < second) if score in lower_is_better() else (first > second) for first, second in pairs),
    }
    if all(value > 0 for pair in pairs for value in pair):
        # the deviation of a distance grows with the distance, that of a ratio does not
        logs = paired_test([math.log(first / second) for first, second in pairs])
        found["ratio"] = {"mean": math.exp(logs.mean), "ci95": [math.exp(value) for value in logs.interval], "p": logs.p}
        found["seeds_for_5_percent"] = pairs_needed(math.log(1 + EFFECT) / logs.deviation) if logs.deviation else 2
    return found


def table(result: AblationResult) -> str:
    """Return the result as text."""
    config = _config(result)
    lines = [
        f"{result.name}: {result.question}" + (f" ({config.source})" if config.source else ""),
        *([config.setting] if config.setting else []),
        f"{result.images:,} images a run of {result.data}, scores by {result.protocol}, {result.seconds / 60:.1f} min",
        "",
    ]
    if result.primary is None:
        return "\n".join([*lines, "no run has a score: all of them ended by non-finite numbers"])
    names = measures_of(result.arms)
    width, columns = max(len(name) for name in result.arms), {name: max(18, len(name)) for name in names}
    heads = "  ".join(f"{name:>{columns[name]}}" for name in names)
    lines.append(f"{'arm':{width}}  parameters           MACs  ms/step     MiB  seeds  {heads}")
    for name, arm in result.arms.items():
        memory = "–" if arm.memory is None else f"{arm.memory / 2**20:,.0f}"
        seeds = f"{len(arm.scores)}" + (f" (-{len(arm.diverged)})" if arm.diverged else "")
        cells = "  ".join(f"{spread(score, list(arm.of(score).values())):>{columns[score]}}" for score in names)
        costs = f"{arm.parameters:>10,}  {arm.macs:>13,}  {1000 * arm.step_seconds:7.2f}  {memory:>6}"
        lines.append(f"{name:{width}}  {costs}  {seeds:>5}  {cells}")
    lines += ["", f"paired by seed: mean, 95 % interval, t-test, Holm, signs, Holm, ratio, wins, seeds for 5 %, verdict by {result.test}"]
    for found in result.paired:
        if "verdict" not in found:
            continue
        ratio = found.get("ratio")
        low, high = found["ci95"]
        told = "" if ratio is None else f"  ×{ratio['mean']:.3f} [{ratio['ci95'][0]:.3f}, {ratio['ci95'][1]:.3f}]"
        lines.append(
            f"{found['score']}, {found['arm']} − {found['against']}: {found['mean']:+.4g} [{low:+.4g}, {high:+.4g}]  p {found['p']:.4f}  "
            f"Holm {found['p_holm']:.4f}  signs {found['p_permutation']:.3f}  Holm {found['p_permutation_holm']:.3f}{told}  "
            f"{found['wins']}/{len(found['seeds'])}  "
            f"{found.get('seeds_for_5_percent') or 'many'}  {found['verdict']}"
        )
    lines += [result.undecidable] if result.undecidable is not None else []
    lines += [f"claims: {result.verdict}"] if result.verdict is not None else []
    for finding in result.findings:
        published = "" if finding.published is None else f" (published: {finding.published})"
        lines.append(f"- {finding.claim}{published}: {finding.measured} ({finding.verdict})")
    diverged = {name: list(arm.diverged) for name, arm in result.arms.items() if arm.diverged}
    if diverged:
        lines.append("diverged: " + "; ".join(f"{name}, seeds {seeds}" for name, seeds in diverged.items()))
    return "\n".join(lines)


def overview(results: Sequence[AblationResult]) -> list[str]:
    """Return a Markdown table with one row per published claim: measurement (mean ± sd over seeds), step time, verdict.

    The step time is the training step of the first claim's proposed arm over its baseline's, if it has such a pair.
    """
    lines = ["| comparison | published claim | measured here | step time | verdict |", "|---|---|---|---|---|"]
    for result in results:
        config = _config(result)
        claims = claims_of(config)
        measured = "<br>".join(in_short(claim, result.arms) for claim in claims)
        source = "; ".join([str(config.source), *(claim.published for claim in claims if claim.published is not None)])
        lines.append(
            f"| `{result.name}` | {config.question} ({source}) | {measured} | {_step_time(claims[0], result.arms)} | **{result.verdict}** |"
        )
    return lines


def _config(result: AblationResult) -> AblationConfig:
    return validated(AblationConfig, result.config, f"result {result.name}")


def _step_time(claim: Claim, arms: Mapping[str, ArmResult]) -> str:
    if isinstance(claim, GrowthClaim | RangeClaim):
        return "–"
    baseline = claim.against if isinstance(claim, CheaperClaim) else baseline_of(claim, arms)
    return f"×{arms[claim.arm].step_seconds / arms[baseline].step_seconds:.2f}"
