"""What a comparison found: its record and its table."""

import statistics
from collections.abc import Sequence
from typing import Any

from gconv_gan.config.base import Config
from gconv_gan.metrics.verdicts import ArmResult, Finding, Verdict


class ComparisonResult(Config):
    """One claim, what was measured, and the verdict."""

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
    """Return the results as Markdown: a row per claim, then the arms of each."""
    lines = ["| claim | measured here | verdict |", "|---|---|---|"]
    for result in results:
        measured = "; ".join(f"{finding.claim}: {finding.measured} ({finding.verdict})" for finding in result.findings)
        lines.append(f"| {result.claim} ({result.source}) | {measured} | **{result.verdict}** |")
    for result in results:
        lines += ["", *arms_table(result)]
    return "\n".join(lines)


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
