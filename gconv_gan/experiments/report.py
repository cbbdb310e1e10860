"""The result of a comparison, stored as JSON and printed as Markdown tables."""

import statistics
from collections.abc import Sequence
from typing import Any

from gconv_gan.config.base import Config
from gconv_gan.config.load import validated
from gconv_gan.config.sections.comparisons import Claim, ComparisonConfig, GrowthClaim
from gconv_gan.experiments.claims import ArmResult, Finding, Verdict, in_short, judge


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

    The step time is the training step of the first claim's proposed arm over its baseline's; a claim about growth has none.
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
    if isinstance(claim, GrowthClaim):
        return "–"
    return f"×{result.arms[claim.proposed].step_seconds / result.arms[claim.baseline].step_seconds:.2f}"


def arms_table(result: ComparisonResult) -> list[str]:
    """Return one comparison's arms: accuracy mean ± sd, the other measures, and costs, times and memory against the first arm."""
    first = next(iter(result.arms.values()))
    extra = [name for name in first.measures if name not in ("top5", "accuracy", "diverged")]
    seeds = len(first.seeds)
    lines = [
        f"{result.name}: {result.setting}; {result.images:,} images a seed, {seeds} seeds",
        "",
        f"| arm | accuracy % | {' | '.join(name.replace('_', ' ') for name in extra)} | parameters | MACs | step time | memory |",
        "|---|" + "---|" * (len(extra) + 5),
    ]
    for name, arm in result.arms.items():
        measures = [_mean_and_deviation(arm.measures[key], percent=key != "loss") for key in ("accuracy", *extra)]
        ratios = f"×{arm.step_seconds / first.step_seconds:.2f} | ×{arm.step_bytes / first.step_bytes:.2f}"
        lost = round(sum(arm.measures["diverged"]))
        said = f"{name} ({lost} of {seeds} seeds diverged)" if lost else name
        lines.append(f"| {said} | {' | '.join(measures)} | {arm.parameters:,} | {arm.macs:,} | {ratios} |")
    return lines


def _mean_and_deviation(values: Sequence[float], *, percent: bool) -> str:
    scale, digits = (100, 2) if percent else (1, 3)
    deviation = f" ± {scale * statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{scale * statistics.fmean(values):.{digits}f}{deviation}"
