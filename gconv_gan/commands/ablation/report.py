"""The result of an ablation, as plain data and as a table."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from gconv_gan.config.ablations import AblationConfig
from gconv_gan.experiments.paired import LEVEL, holm, least_p_signs, paired_test, pairs_needed
from gconv_gan.gallery.page.ablation_page import mean_and_deviation
from gconv_gan.gallery.page.score_names import LOWER_IS_BETTER

EFFECT = 0.05
"""Relative difference for which the required number of seeds is computed."""
TESTS = {"t": "p", "signs": "p_permutation"}
"""Test -> key of its p-value."""


@dataclass(frozen=True)
class ArmRuns:
    """An arm: its cost and the scores of its runs."""

    parameters: int
    macs: int
    """MACs of the generator per image."""
    step_seconds: float
    """Seconds of an iteration of one run alone."""
    memory: int
    """Peak bytes of a process that trains one run alone."""
    scores: Mapping[int, Mapping[str, float] | None]
    """Seed -> scores at the end; None: the run ended by non-finite numbers."""
    curves: Mapping[int, Mapping[int, Mapping[str, float]]]
    """Seed -> images seen -> scores."""


def report(config: AblationConfig, arms: Mapping[str, ArmRuns], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result as plain data; the tests use the first score of the protocol, the other scores are listed."""
    names = next((list(scores) for arm in arms.values() for scores in arm.scores.values() if scores is not None), [])
    paired = [
        found
        for name in names
        for pair in config.compare
        if (found := _compared(arms[pair.arm], arms[pair.against], name, arm=pair.arm, against=pair.against)) is not None
    ]
    primary = [found for found in paired if found["score"] == names[0]]
    for key in TESTS.values():
        for found, adjusted in zip(primary, holm([found[key] for found in primary]), strict=True):
            found[f"{key}_holm"] = adjusted
    for found in primary:
        better = (found["mean"] < 0) == (found["score"] in LOWER_IS_BETTER)
        found["verdict"] = "undecided" if found[f"{TESTS[config.test]}_holm"] > LEVEL else "better" if better else "worse"
    return {
        "name": config.name,
        "question": config.question,
        **facts,
        "primary": names[0] if names else None,
        "arms": {name: _arm(arm) for name, arm in arms.items()},
        "paired": paired,
        "test": config.test,
        "undecidable": undecidable(primary) if config.test == "signs" else None,
    }


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


def _arm(arm: ArmRuns) -> dict[str, Any]:
    return {
        "parameters": arm.parameters,
        "macs": arm.macs,
        "step_seconds": arm.step_seconds,
        "memory": arm.memory,
        "scores": {str(seed): dict(scores) for seed, scores in arm.scores.items() if scores is not None},
        "diverged": [seed for seed, scores in arm.scores.items() if scores is None],
        "curves": {str(seed): {str(images): dict(scores) for images, scores in curve.items()} for seed, curve in arm.curves.items()},
    }


def _compared(proposed: ArmRuns, baseline: ArmRuns, score: str, **names: str) -> dict[str, Any] | None:
    """Return the comparison of two arms by a score over the seeds that both have; None below two."""
    pairs = {
        seed: (mine[score], theirs[score])
        for seed, mine in proposed.scores.items()
        if mine is not None and (theirs := baseline.scores.get(seed)) is not None
    }
    if len(pairs) < 2:
        return None
    test = paired_test([mine - theirs for mine, theirs in pairs.values()])
    found: dict[str, Any] = {
        **names,
        "score": score,
        "mean": test.mean,
        "ci95": list(test.interval),
        "p": test.p,
        "p_permutation": test.p_signs,
        "seeds": list(pairs),
        "wins": sum((mine < theirs) if score in LOWER_IS_BETTER else (mine > theirs) for mine, theirs in pairs.values()),
    }
    if all(value > 0 for pair in pairs.values() for value in pair):
        # the deviation of a distance grows with the distance, that of a ratio does not
        logs = paired_test([math.log(mine / theirs) for mine, theirs in pairs.values()])
        found["ratio"] = {"mean": math.exp(logs.mean), "ci95": [math.exp(value) for value in logs.interval], "p": logs.p}
        found["seeds_for_5_percent"] = pairs_needed(math.log(1 + EFFECT) / logs.deviation) if logs.deviation else 2
    return found


def table(result: Mapping[str, Any]) -> str:
    """Return the result as text."""
    lines = [
        f"{result['name']}: {result['question']}",
        f"{result['images']:,} images a run of {result['data']}, scores by {result['protocol']}, {result['seconds'] / 60:.1f} min",
        "",
    ]
    primary = result["primary"]
    if primary is None:
        return "\n".join([*lines, "no run has a score: all of them ended by non-finite numbers"])
    width = max(len(name) for name in result["arms"])
    names = list(next(scores for arm in result["arms"].values() for scores in arm["scores"].values()))
    lines.append(f"{'arm':{width}}  parameters        MACs  ms/step     MiB  seeds  " + "  ".join(f"{name:>18}" for name in names))
    for name, arm in result["arms"].items():
        cells = [mean_and_deviation([scores[score] for scores in arm["scores"].values()]) for score in names]
        memory = f"{arm['memory'] / 2**20:6,.0f}"
        seeds = f"{len(arm['scores'])}" + (f" (-{len(arm['diverged'])})" if arm["diverged"] else "")
        lines.append(
            f"{name:{width}}  {arm['parameters']:>10,}  {arm['macs']:>10,}  {1000 * arm['step_seconds']:7.2f}  {memory}  {seeds:>5}  "
            + "  ".join(f"{cell:>18}" for cell in cells)
        )
    columns = "mean, 95 % interval, t-test, Holm, signs, Holm, ratio, wins, seeds for 5 %"
    lines += ["", f"paired by seed, {primary}: {columns}, verdict by {result['test']}"]
    for found in result["paired"]:
        if found["score"] != primary:
            continue
        ratio = found.get("ratio")
        low, high = found["ci95"]
        told = "" if ratio is None else f"  ×{ratio['mean']:.3f} [{ratio['ci95'][0]:.3f}, {ratio['ci95'][1]:.3f}]"
        lines.append(
            f"{found['arm']} − {found['against']}: {found['mean']:+.4g} [{low:+.4g}, {high:+.4g}]  p {found['p']:.4f}  "
            f"Holm {found['p_holm']:.4f}  signs {found['p_permutation']:.3f}  Holm {found['p_permutation_holm']:.3f}{told}  "
            f"{found['wins']}/{len(found['seeds'])}  "
            f"{found.get('seeds_for_5_percent') or 'many'}  {found['verdict']}"
        )
    if result["undecidable"] is not None:
        lines.append(result["undecidable"])
    diverged = {name: arm["diverged"] for name, arm in result["arms"].items() if arm["diverged"]}
    if diverged:
        lines.append("diverged, and in no comparison: " + "; ".join(f"{name}, seeds {seeds}" for name, seeds in diverged.items()))
    return "\n".join(lines)
