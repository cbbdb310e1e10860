"""The three regimes of training at a fixed effective learning rate: the detector, and the result of a sweep over rates and seeds.

Kodryan, Lobacheva, Nakhodnov, Vetrov, NeurIPS 2022, arXiv 2209.03695. The paper identifies the regimes by eye; these rules are our own.
"""

import math
import statistics
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from gconv_gan.config.base import Config

Regime = Literal["convergence", "chaotic equilibrium", "divergence"]
ORDER: tuple[Regime, ...] = ("convergence", "chaotic equilibrium", "divergence")

STUCK = 0.5  # share of the initial loss at or above which a run has diverged
GROWN = 2.0  # factor over the initial effective gradient above which a run has diverged
STRAIGHT = 0.8  # least R² of the logarithm of the loss over time under convergence
FALLEN = 2.0  # least ratio of effective gradients under convergence
SMALLEST = 1e-30  # lower limit of the loss before its logarithm


class Verdict(Config):
    """The regime of a run, and the numbers that determine it."""

    regime: Regime
    loss: float
    """Median of the loss over the window; the gradient likewise."""
    gradient: float
    slope: float
    """Slope of ln(loss) per record of the window."""
    r_squared: float
    """R² of the straight line through ln(loss)."""
    fall: float
    """Effective gradient before training, or at the start of the window where that is larger, over that at the end of the window."""
    variation: float
    """Coefficient of variation of the effective gradient in the window."""


def detect(
    losses: Sequence[float], gradients: Sequence[float], *, initial_loss: float, initial_gradient: float, window: int | None = None
) -> Verdict:
    r"""Return the regime at the end of a run; the first rule that matches decides.

    ===================  ==========================================================================================================
    divergence           median loss of the window ≥ 0.5 of the initial loss, or median effective gradient > 2 times the initial one,
                         or a number that is not finite
    convergence          ln(loss) falls with R² > 0.8, and the effective gradient fell by a factor ≥ 2 in the window or in the run
    chaotic equilibrium  otherwise
    ===================  ==========================================================================================================

    Args:
        losses: mean training loss of each epoch, in training mode.
        gradients: mean effective gradient norm :math:`\rho\lVert\nabla L\rVert` over the steps of each epoch.
        initial_loss: mean training loss before training.
        initial_gradient: effective gradient norm before training.
        window: number of last epochs that are used; None: half of them, at least three.

    Raises:
        ValueError: for fewer than three epochs.

    """
    window = max(3, len(losses) // 2) if window is None else window
    if window < 3 or len(losses) < window or len(losses) != len(gradients):
        raise ValueError(f"a regime is told from at least three epochs, not from {len(losses)} with a window of {window}")
    loss, gradient = np.asarray(losses[-window:], float), np.asarray(gradients[-window:], float)
    if not (np.isfinite(loss).all() and np.isfinite(gradient).all()):
        return Verdict(regime="divergence", loss=initial_loss, gradient=initial_gradient, slope=0, r_squared=0, fall=1, variation=0)
    slope, r_squared = _line(np.log(np.maximum(loss, SMALLEST)))
    third = max(1, window // 3)
    end = max(float(np.median(gradient[-third:])), SMALLEST)
    found = {
        "loss": float(np.median(loss)),
        "gradient": float(np.median(gradient)),
        "slope": slope,
        "r_squared": r_squared,
        "fall": max(initial_gradient, float(np.median(gradient[:third]))) / end,
        "variation": float(gradient.std() / max(gradient.mean(), SMALLEST)),
    }
    regime: Regime = "chaotic equilibrium"
    if found["loss"] >= STUCK * initial_loss or found["gradient"] > GROWN * initial_gradient:
        regime = "divergence"
    elif slope < 0 and r_squared > STRAIGHT and found["fall"] >= FALLEN:
        regime = "convergence"
    return Verdict(regime=regime, **found)


def _line(values: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[float, float]:
    """Return slope and R² of the least-squares line through equidistant ``values``; R² is 0 for equal values."""
    time = np.arange(len(values)) - (len(values) - 1) / 2
    centred = values - values.mean()
    slope = float((time * centred).sum() / (time * time).sum())
    total = float((centred * centred).sum())
    return slope, 0.0 if total == 0 else 1 - float(((centred - slope * time) ** 2).sum()) / total


class SphereRun(Config):
    """One run of a sweep: its trajectory and its regime."""

    effective_learning_rate: float
    seed: int
    images: tuple[int, ...]
    """Images seen at the end of each epoch."""
    losses: tuple[float, ...]
    """Training loss of each epoch, in training mode."""
    gradients: tuple[float, ...]
    """Effective gradient norm of each epoch."""
    accuracy: float
    """Accuracy on the test data."""
    verdict: Verdict


class Initial(Config):
    """Mean training loss and effective gradient norm before training."""

    loss: float
    gradient: float


class SphereSweep(Config):
    """The result of a sweep over effective learning rates and seeds."""

    format: int = 1
    name: str
    initial: dict[int, Initial]
    """By seed."""
    runs: tuple[SphereRun, ...]
    step_seconds: dict[str, float]
    """Seconds of a training step: of "SGD" alone, and with each of the two methods."""
    config: dict[str, Any]
    """The classifier run whose effective learning rate and seed were varied."""
    versions: dict[str, str]
    seconds: float

    @property
    def rates(self) -> list[float]:
        """Return the effective learning rates, rising."""
        return sorted({run.effective_learning_rate for run in self.runs})

    @property
    def seeds(self) -> list[int]:
        """Return the seeds, rising."""
        return sorted(self.initial)

    def at(self, rate: float) -> list[SphereRun]:
        """Return the runs of one effective learning rate, by seed."""
        return sorted((run for run in self.runs if run.effective_learning_rate == rate), key=lambda run: run.seed)

    def of(self, seed: int) -> list[SphereRun]:
        """Return the runs of one seed, by effective learning rate."""
        return sorted((run for run in self.runs if run.seed == seed), key=lambda run: run.effective_learning_rate)


class Criterion(Config):
    """A statement about a sweep and the seeds on which it is true."""

    statement: str
    seeds: dict[int, bool]

    @property
    def verdict(self) -> str:
        """Return "holds" (on every seed, of at least three), "does not hold" (on none) or "undecided"."""
        true = sum(self.seeds.values())
        return "does not hold" if not true else "holds" if true == len(self.seeds) >= 3 else "undecided"


def criteria(sweep: SphereSweep) -> list[Criterion]:
    """Return the paper's statements on the regimes, each with the seeds of the sweep on which it is true."""

    def each(statement: str, holds: Any) -> Criterion:
        return Criterion(statement=statement, seeds={seed: bool(holds(seed)) for seed in sweep.seeds})

    def regime(seed: int, name: Regime) -> list[SphereRun]:
        return [run for run in sweep.of(seed) if run.verdict.regime == name]

    def in_order(seed: int) -> bool:
        places = [ORDER.index(run.verdict.regime) for run in sweep.of(seed)]
        return places == sorted(places) and set(places) == {0, 1, 2}

    def falls(seed: int) -> bool:
        losses = [_last(run.losses) for run in regime(seed, "convergence")]
        return len(losses) > 1 and losses == sorted(losses, reverse=True)

    def gradient_falls(seed: int) -> bool:
        runs = regime(seed, "convergence")
        return bool(runs) and all(_last(run.gradients) <= sweep.initial[seed].gradient / 10 for run in runs)

    def plateau(seed: int) -> bool:
        runs, converged = regime(seed, "chaotic equilibrium"), regime(seed, "convergence")
        best = min((_last(run.losses) for run in converged), default=math.inf)
        return bool(runs) and all(10 * best < _last(run.losses) < sweep.initial[seed].loss / 2 for run in runs)

    def grows(seed: int) -> bool:
        runs = regime(seed, "divergence")
        return bool(runs) and all(_last(run.gradients) > sweep.initial[seed].gradient for run in runs)

    return [
        each("with rising effective learning rate: convergence, then chaotic equilibrium, then divergence", in_order),
        each("convergence: the final loss falls as the effective learning rate rises", falls),
        each("convergence: the effective gradient falls at least tenfold", gradient_falls),
        each("chaotic equilibrium: the loss stays above 10 times the best and below half the initial one", plateau),
        each("divergence: the effective gradient grows", grows),
    ]


def _last(values: Sequence[float]) -> float:
    """Return the mean of the last five values."""
    return statistics.fmean(values[-5:])


def sweep_table(sweep: SphereSweep) -> str:
    """Return the sweep as Markdown: a row per effective learning rate with means over seeds, and the criteria."""
    initial = [statistics.fmean(getattr(one, name) for one in sweep.initial.values()) for name in ("loss", "gradient")]
    lines = [
        f"{sweep.name}, seeds {', '.join(map(str, sweep.seeds))}; before training: loss {initial[0]:.3g}, gradient {initial[1]:.3g}",
        "",
        "| effective learning rate | final loss (each seed) | effective gradient | test accuracy | regime (seeds) |",
        "|---|---|---|---|---|",
    ]
    for rate in sweep.rates:
        runs = sweep.at(rate)
        losses = ", ".join(f"{_last(run.losses):.2g}" for run in runs)
        gradient = statistics.fmean(_last(run.gradients) for run in runs)
        accuracy = 100 * statistics.fmean(run.accuracy for run in runs)
        counts = [(name, sum(run.verdict.regime == name for run in runs)) for name in ORDER]
        regimes = ", ".join(f"{name} {count}/{len(runs)}" for name, count in counts if count)
        lines.append(f"| {rate:g} | {losses} | {gradient:.3g} | {accuracy:.1f} % | {regimes} |")
    lines.append("")
    for criterion in criteria(sweep):
        true = [str(seed) for seed, holds in criterion.seeds.items() if holds]
        lines.append(f"- {criterion.statement}: {criterion.verdict} (seeds {', '.join(true) or 'none'})")
    plain = sweep.step_seconds["SGD"]
    ratios = [f"{name} {taken / plain:.2f}" for name, taken in sweep.step_seconds.items() if name != "SGD"]
    lines += ["", f"Time of a training step / that of SGD ({1000 * plain:.1f} ms): {', '.join(ratios)}"]
    return "\n".join(lines)
