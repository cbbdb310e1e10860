"""The formulas against random matrices, each other, and values computed apart from them."""

import math

import numpy as np
import pytest
import torch

from gconv_gan.optim.batch_spectrum import (
    batch_extreme,
    batch_extreme_gauss_newton,
    cauchy_step,
    critical_batch,
    effective_batch,
    largest_learning_rate,
    noise_of_products,
    scaled_damping,
    scaled_learning_rate,
)

SIDE = 500


def spiked(eigenvalue: float, noise: np.ndarray) -> float:
    """Return the eigenvalue of largest magnitude, on the side of ``eigenvalue``, of a matrix of rank one with noise."""
    matrix = noise.copy()
    matrix[0, 0] += eigenvalue  # the noise is the same in every direction
    values = np.linalg.eigvalsh(matrix)
    return float(values[-1] if eigenvalue > 0 else values[0])


def semicircle(variance: float, generator: np.random.Generator) -> np.ndarray:
    normal = generator.standard_normal((SIDE, SIDE))
    return (normal + normal.T) / math.sqrt(2 * SIDE) * math.sqrt(variance)


def wishart(variance: float, q: float, generator: np.random.Generator) -> np.ndarray:
    count = round(SIDE / q)
    normal = generator.standard_normal((SIDE, count))
    return variance * normal @ normal.T / count


@pytest.mark.parametrize(("eigenvalue", "variance"), [(0.3, 0.25), (0.8, 0.25), (1.5, 1.0), (3.0, 1.0), (-1.5, 1.0), (-0.2, 0.5)])
def test_theorem_4_on_rank_one_and_semicircle(eigenvalue: float, variance: float) -> None:
    generator = np.random.default_rng(11)
    measured = np.mean([spiked(eigenvalue, semicircle(variance, generator)) for _ in range(5)])
    assert batch_extreme(eigenvalue, variance * 64, 64.0) == pytest.approx(measured, rel=0.05)


@pytest.mark.parametrize(
    ("eigenvalue", "q", "variance"), [(0.3, 0.25, 1.0), (1.0, 0.25, 1.0), (2.0, 0.25, 1.0), (2.5, 1.0, 1.0), (4.0, 2.0, 0.5)]
)
def test_the_corrected_theorem_7_on_rank_one_and_marchenko_pastur(eigenvalue: float, q: float, variance: float) -> None:
    generator = np.random.default_rng(12)
    measured = np.mean([spiked(eigenvalue, wishart(variance, q, generator)) for _ in range(5)])
    assert batch_extreme_gauss_newton(eigenvalue, variance, q) == pytest.approx(measured, rel=0.05)


def test_the_printed_edge_of_theorem_7_is_wrong() -> None:
    generator = np.random.default_rng(13)
    measured = np.mean([spiked(0.3, wishart(1.0, 0.25, generator)) for _ in range(5)])
    assert abs(2 * (1 + 0.25) - measured) > 0.05 * measured
    printed = (4.0 + 0.5 * (1 - 2)) / (1 - 2 * 0.5 / 4.0)  # its outlier
    assert batch_extreme_gauss_newton(4.0, 0.5, 2.0) == pytest.approx(printed)


def test_the_values_of_the_table() -> None:
    cases = {
        (0.3, 0.25): 2.25,
        (0.8, 0.25): 2.255,
        (1.0, 0.25): 2.333,
        (2.0, 0.25): 3.143,
        (1.5, 1.0): 4.0,
        (2.5, 1.0): 4.167,
        (5.0, 1.0): 6.25,
    }
    for (eigenvalue, q), value in cases.items():
        assert batch_extreme_gauss_newton(eigenvalue, 1.0, q) == pytest.approx(value, abs=6e-4)
    for (eigenvalue, variance), value in {(0.3, 0.25): 1.0, (0.8, 0.25): 1.1125, (1.5, 1.0): 2.16667, (3.0, 1.0): 3.33333}.items():
        assert batch_extreme(eigenvalue, variance, 1.0) == pytest.approx(value, abs=1e-5)


def test_the_branches_meet_and_no_exponent_exceeds_a_half() -> None:
    eigenvalue, noise = 2.5, 300.0
    critical = critical_batch(eigenvalue, noise)
    assert critical == 48.0
    for batch in (critical * (1 - 1e-9), critical, critical * (1 + 1e-9)):
        assert batch_extreme(eigenvalue, noise, batch) == pytest.approx(2 * eigenvalue)
        assert largest_learning_rate(eigenvalue, noise, batch) == pytest.approx(1 / eigenvalue)
    batches = np.geomspace(0.1, 1e5, 400).tolist()
    rates = [largest_learning_rate(eigenvalue, noise, batch) for batch in batches]
    exponents = np.diff(np.log(rates)) / np.diff(np.log(batches))
    assert exponents.max() <= 0.5 + 1e-9
    assert exponents.min() >= 0
    below = np.array(batches[1:]) < critical
    np.testing.assert_allclose(exponents[below], 0.5, atol=1e-9)
    above = np.array([batch for batch in batches if batch > critical])
    np.testing.assert_allclose(
        [largest_learning_rate(eigenvalue, noise, batch) for batch in above.tolist()], 2 / eigenvalue / (1 + critical / above), rtol=1e-12
    )
    assert largest_learning_rate(eigenvalue, noise, 2048.0, images=2048.0) == 2 / eigenvalue


def test_means_of_draws_without_replacement_have_the_variance_of_the_effective_batch() -> None:
    generator = np.random.default_rng(14)
    values = generator.standard_normal(1000)
    means = [generator.choice(values, 100, replace=False).mean() for _ in range(20_000)]
    assert np.var(means) == pytest.approx(values.var(ddof=1) / effective_batch(100.0, 1000.0), rel=0.05)
    assert effective_batch(100.0) == 100
    assert effective_batch(1000.0, 1000.0) == math.inf


def test_the_noise_of_random_matrices_is_found() -> None:
    generator = torch.Generator().manual_seed(15)
    side, count, deviation = 30, 400, 0.7
    normal = torch.randn(count, side, side, dtype=torch.float64, generator=generator) * deviation
    matrices = torch.triu(normal) + torch.triu(normal, 1).transpose(1, 2) + 3.0
    found = []
    for _ in range(20):
        v = torch.randn(side, dtype=torch.float64, generator=generator)
        found.append(noise_of_products([matrix @ (v / v.norm()) for matrix in matrices]))
    assert np.mean(found) == pytest.approx(side * deviation**2, rel=0.05)
    halves = [pair.mean(0) @ (v / v.norm()) for pair in matrices.split(2)]
    assert noise_of_products(halves, 2.0) == pytest.approx(side * deviation**2, rel=0.2)


def test_learning_rates_grow_by_their_rule_up_to_the_critical_batch() -> None:
    def scaled(new: float, rule: str, old: float = 64.0, largest: float = math.inf) -> float:
        return scaled_learning_rate(0.1, old=old, new=new, rule=rule, critical=256.0, largest=largest)  # type: ignore[arg-type]

    assert scaled(128.0, "linear") == pytest.approx(0.2)
    assert scaled(128.0, "sqrt") == pytest.approx(0.1 * 2**0.5)
    assert scaled(16.0, "linear") == pytest.approx(0.025)
    assert scaled(16.0, "sqrt") == pytest.approx(0.05)
    assert scaled(256.0, "linear") == scaled(4096.0, "linear") == pytest.approx(0.4)
    assert scaled(4096.0, "linear", old=1024.0) == pytest.approx(0.1)
    assert scaled(256.0, "linear", largest=0.3) == 0.3


def test_damping_follows_rate_and_batch() -> None:
    assert scaled_damping(1e-3, rate_growth=2.0, batch_growth=4.0, exponent=1.0) == pytest.approx(5e-4)
    assert scaled_damping(1e-3, rate_growth=2.0, batch_growth=4.0) == pytest.approx(1e-3)


def test_the_cauchy_step_ends_at_the_minimum_along_the_gradient() -> None:
    matrix = torch.diag(torch.tensor([1.0, 4.0, 9.0]))
    x = torch.tensor([1.0, -2.0, 0.5])
    gradient = matrix @ x
    step = cauchy_step(gradient, matrix @ gradient)
    after = matrix @ (x - step * gradient)
    assert float(after @ gradient) == pytest.approx(0, abs=1e-4)
    assert cauchy_step(gradient, -gradient) == math.inf
