"""The result of a comparison, stored as JSON and printed as Markdown tables."""

import statistics
from collections.abc import Sequence
from typing import Any

from gconv_gan.config.base import Config
from gconv_gan.config.load import validated
from gconv_gan.config.sections.comparisons import CheaperClaim, Claim, ComparisonConfig, GrowthClaim, RangeClaim
from gconv_gan.experiments.claims import ArmResult, Finding, Verdict, baseline_of, in_short, is_share, judge


class ComparisonResult(Config):
    """One claim, the measured values, and the verdict."""

    format: int = 1
    name: str
    claim: str
    source: str
    setting: str
    images: int
    """Images each arm trained on, per seed."""
    arms: dict[str, ArmResult]
    findings: tuple[Finding, ...]
    verdict: Verdict
    config: dict[str, Any]
    versions: dict[str, str]
    seconds: float


def table(results: Sequence[ComparisonResult]) -> str:
    """Return the results as Markdown: a row per comparison, then the arms of each and the findings on its claims."""
    lines = overview(results)
    for result in results:
        lines += ["", *arms_table(result), ""]
        lines += [f"- {finding.claim}: {finding.measured} ({finding.verdict})" for finding in findings(result)]
    return "\n".join(lines)


def overview(results: Sequence[ComparisonResult]) -> list[str]:
    """Return a Markdown table with one row per comparison: claim, measurement (mean ± sd over seeds), step time, verdict.

    The step time is the training step of the first claim's proposed arm over its baseline's, if it has such a pair.
    """
    lines = ["| comparison | published claim | measured here | step time | verdict |", "|---|---|---|---|---|"]
    for result in results:
        claims = _claims(result)
        measured = "<br>".join(in_short(claim, result.arms) for claim in claims)
        lines.append(
            f"| `{result.name}` | {result.claim} ({result.source}) | {measured} | {_step_time(claims[0], result)} | **{result.verdict}** |"
        )
    return lines


def findings(result: ComparisonResult) -> list[Finding]:
    """Return the findings on a result's claims, computed from its arms: the text in an older file may differ."""
    return [judge(claim, result.arms) for claim in _claims(result)]


def _claims(result: ComparisonResult) -> tuple[Claim, ...]:
    return validated(ComparisonConfig, result.config, f"result {result.name}").claims


def _step_time(claim: Claim, result: ComparisonResult) -> str:
    if isinstance(claim, GrowthClaim | RangeClaim):
        return "–"
    baseline = claim.baseline if isinstance(claim, CheaperClaim) else baseline_of(claim, result.arms)
    return f"×{result.arms[claim.proposed].step_seconds / result.arms[baseline].step_seconds:.2f}"


def arms_table(result: ComparisonResult) -> list[str]:
    """Return one comparison's arms: accuracy mean ± sd, the other measures, and costs, times and memory against the first arm."""
    first = next(iter(result.arms.values()))
    found = dict.fromkeys(name for arm in result.arms.values() for name in arm.measures)
    extra = [name for name in found if name not in ("top5", "accuracy", "diverged")]
    seeds, heads = len(first.seeds), " | ".join(name.rpartition(".")[2].replace("_", " ") for name in extra)
    lines = [
        f"{result.name}: {result.setting}; {result.images:,} images a seed, {seeds} seeds",
        "",
        f"| arm | accuracy % | {heads} | parameters | MACs | step time | memory |",
        "|---|" + "---|" * (len(extra) + 5),
    ]
    for name, arm in result.arms.items():
        measures = [_mean_and_deviation(arm.measures.get(key, ()), percent=is_share(key)) for key in ("accuracy", *extra)]
        ratios = f"×{arm.step_seconds / first.step_seconds:.2f} | ×{arm.step_bytes / first.step_bytes:.2f}"
        lost = round(sum(arm.measures["diverged"]))
        said = f"{name} ({lost} of {seeds} seeds diverged)" if lost else name
        lines.append(f"| {said} | {' | '.join(measures)} | {arm.parameters:,} | {arm.macs:,} | {ratios} |")
    return lines


def _mean_and_deviation(values: Sequence[float], *, percent: bool) -> str:
    if not values:
        return "–"
    scale, digits = (100, 2) if percent else (1, 3)
    deviation = f" ± {scale * statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{scale * statistics.fmean(values):.{digits}f}{deviation}"
