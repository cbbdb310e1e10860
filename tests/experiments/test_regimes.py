"""Regimes follow from trajectories, and what a sweep says from its regimes."""

import math

import numpy as np
import pytest

from gconv_gan.experiments.regimes import Initial, SphereRun, SphereSweep, criteria, detect, sweep_table

EPOCHS = 80
NOISE = np.random.default_rng(0).normal(size=EPOCHS)
TIME = np.arange(EPOCHS) / EPOCHS
L0, G0 = 5.0, 600.0


def regime(losses: np.ndarray, gradients: np.ndarray, **options: int) -> str:
    return detect(list(losses), list(gradients), initial_loss=L0, initial_gradient=G0, **options).regime


DECAY = L0 * np.exp(-8 * TIME + 0.1 * NOISE)
PLATEAU = 0.1 * L0 * (1 + 0.1 * NOISE)
STUCK = L0 * (1 + 0.05 * NOISE)
FALLING, FLAT, GROWING = G0 * np.exp(-6 * TIME), 0.1 * G0 * (1 + 0.2 * NOISE), G0 * (1 + 4 * TIME)


@pytest.mark.parametrize(
    ("losses", "gradients", "expected"),
    [
        (DECAY, FALLING, "convergence"),
        (PLATEAU, FLAT, "chaotic equilibrium"),
        (STUCK, GROWING, "divergence"),
        (STUCK, FLAT, "divergence"),
        (PLATEAU, GROWING, "divergence"),  # the gradient alone tells it
        (DECAY, np.full(EPOCHS, G0), "chaotic equilibrium"),  # the gradient has to fall too
        (PLATEAU * (1 - 0.1 * TIME), FALLING, "chaotic equilibrium"),  # a drift below the noise is none
        (np.where(TIME > 0.9, math.nan, DECAY), FALLING, "divergence"),
    ],
)
def test_a_trajectory_has_the_regime_that_made_it(losses: np.ndarray, gradients: np.ndarray, expected: str) -> None:
    assert regime(losses, gradients) == expected


def test_the_window_is_the_end_of_the_run() -> None:
    losses, gradients = np.concatenate([DECAY, np.full(20, 0.01)]), np.concatenate([FALLING, np.full(20, 1.0)])
    assert regime(losses, gradients, window=20) == "chaotic equilibrium"
    assert regime(losses[:EPOCHS], gradients[:EPOCHS], window=20) == "convergence"


def test_the_numbers_are_those_of_the_window() -> None:
    losses, gradients = list(np.exp(-0.5 * np.arange(40))), [2.0 ** (40 - n) for n in range(40)]
    found = detect(losses, gradients, initial_loss=1.0, initial_gradient=1.0, window=9)
    assert found.slope == pytest.approx(-0.5)
    assert found.r_squared == pytest.approx(1)
    assert found.loss == pytest.approx(math.exp(-0.5 * 35))
    assert found.fall == pytest.approx(2**6)
    values = np.array([2.0**n for n in range(1, 10)])
    assert found.variation == pytest.approx(values.std() / values.mean())


@pytest.mark.parametrize(("count", "window"), [(2, None), (10, 11), (10, 2)])
def test_too_few_epochs_are_refused(count: int, window: int | None) -> None:
    with pytest.raises(ValueError, match="at least three epochs"):
        detect([1.0] * count, [1.0] * count, initial_loss=1.0, initial_gradient=1.0, window=window)


def run(rate: float, seed: int, losses: np.ndarray, gradients: np.ndarray) -> SphereRun:
    verdict = detect(list(losses), list(gradients), initial_loss=L0, initial_gradient=G0)
    images = tuple(500 * (epoch + 1) for epoch in range(EPOCHS))
    return SphereRun(
        effective_learning_rate=rate,
        seed=seed,
        images=images,
        losses=tuple(map(float, losses)),
        gradients=tuple(map(float, gradients)),
        accuracy=0.5,
        verdict=verdict,
    )


def made(seeds: int, *, chaos_first: bool = False) -> SphereSweep:
    rates = (1.0, 0.01, 0.1) if chaos_first else (0.01, 0.1, 1.0)
    traces = ((DECAY, FALLING), (PLATEAU, FLAT), (STUCK, GROWING))
    runs = [run(rate, seed, *trace) for seed in range(seeds) for rate, trace in zip(rates, traces, strict=True)]
    runs += [run(rates[0] / 2, seed, 2 * DECAY, FALLING) for seed in range(seeds)]
    initial = {seed: Initial(loss=L0, gradient=G0) for seed in range(seeds)}
    times = {"SGD": 0.02, "sphere": 0.021}
    return SphereSweep(name="made", initial=initial, runs=tuple(runs), step_seconds=times, config={}, versions={}, seconds=1.0)


def test_the_papers_picture_holds_where_every_seed_shows_it() -> None:
    assert [criterion.verdict for criterion in criteria(made(3))] == ["holds"] * 5
    assert [criterion.verdict for criterion in criteria(made(2))] == ["undecided"] * 5
    assert criteria(made(3, chaos_first=True))[0].verdict == "does not hold"


def test_the_table_has_a_row_a_rate_and_names_the_regimes() -> None:
    text = sweep_table(made(3))
    assert "| 0.1 | 0.5" in text
    assert "chaotic equilibrium 3/3" in text
    assert "divergence 3/3" in text
    assert "- convergence: the final loss falls as the effective learning rate rises: holds (seeds 0, 1, 2)" in text
    assert text.endswith("Time of a training step / that of SGD (20.0 ms): sphere 1.05")
