r"""How a batch's noise widens the spectrum of the curvature, and what it leaves of the learning rate: random-matrix formulas.

Granziol, Zohren, Roberts, "Learning Rates as a Function of Batch Size", JMLR 23(173), 2022; theorems and equations are numbered as there.
Notation: p parameters, N images, batches of B, :math:`1/\mathfrak b = 1/B - 1/N`, and the noise :math:`p\sigma^2`, p times the variance of
an element of the Hessian of one image. The formulas are limits for p, B, N → ∞ at a fixed ratio of p and 𝔟, and hold for noise without
structure: that of small networks has low rank, and their batches widen the spectrum further than this says.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Rule = Literal["linear", "sqrt"]
"""How a learning rate grows with the batch: linearly (SGD) or with its square root (adaptive methods)."""


def effective_batch(batch: float, images: float | None = None) -> float:
    r"""Return :math:`\mathfrak b = B / (1 - B/N)`: B without ``images`` (fresh ones for ever), infinite for the whole set."""
    if images is None:
        return batch
    return math.inf if batch >= images else batch / (1 - batch / images)


def noise_of_products(products: Sequence[Float[Tensor, " p"]], effective_batch: float = 1.0) -> float:
    r"""Return an estimate of :math:`p\sigma^2` from products of one random unit vector with the Hessians of n independent batches.

    .. math:: \frac{\mathfrak b}{n - 1} \sum_i \lVert H_i v - \bar h \rVert^2, \qquad \bar h = \frac1n \sum_i H_i v

    The paper's Algorithm 1 prints no 1/n and subtracts :math:`(v^\top H v)^2`, which is no variance.

    Args:
        products: :math:`H_i v`, at least two.
        effective_batch: 𝔟 of each batch; 1: each is of one image.

    """
    stacked = torch.stack(list(products)).double()
    return float(effective_batch * (stacked - stacked.mean(0)).square().sum() / (len(stacked) - 1))


def batch_extreme(eigenvalue: float, noise: float, effective_batch: float) -> float:
    r"""Return the extreme eigenvalue of a batch's Hessian, by Theorem 4 (noise with a semicircle as its spectrum).

    .. math::
        \lambda' = \begin{cases}
        \lambda + q \sigma^2 / \lambda & \lvert\lambda\rvert > \sqrt{q}\,\sigma \\ \pm 2 \sqrt{q}\,\sigma & \text{otherwise}
        \end{cases}, \qquad q = p / \mathfrak b

    Args:
        eigenvalue: λ, the largest (≥ 0) or smallest (≤ 0; the sign says which) of the Hessian of all images.
        noise: pσ².
        effective_batch: 𝔟.

    """
    variance = noise / effective_batch
    if eigenvalue**2 > variance:
        return eigenvalue + variance / eigenvalue
    return math.copysign(2 * math.sqrt(variance), eigenvalue)


def batch_extreme_gauss_newton(eigenvalue: float, variance: float, q: float) -> float:
    r"""Return the largest eigenvalue of a batch's Gauss–Newton matrix (positive noise with Marchenko's and Pastur's spectrum).

    .. math::
        \lambda' = \begin{cases}
        \lambda + \sigma^2 \lambda / (\lambda - q \sigma^2) & \lambda > \sigma^2 (q + \sqrt q) \\
        \sigma^2 (1 + \sqrt q)^2 & \text{otherwise}
        \end{cases}

    The first line is the paper's Theorem 7. Its condition, λ > σ²(1 + q), and its other line, 2σ²(1 + q), are replaced: they are right at
    q = 1 alone.

    Args:
        eigenvalue: λ > 0, of all images.
        variance: σ², the mean of the noise's eigenvalues.
        q: p / 𝔟.

    """
    if eigenvalue > variance * (q + math.sqrt(q)):
        return eigenvalue + variance * eigenvalue / (eigenvalue - q * variance)
    return variance * (1 + math.sqrt(q)) ** 2


def critical_batch(eigenvalue: float, noise: float) -> float:
    r"""Return :math:`\mathfrak b^* = p\sigma^2 / \lambda_1^2`, below which the noise hides the largest eigenvalue."""
    return noise / eigenvalue**2


def fitted_outlier(batch: tuple[float, float], larger: tuple[float, float]) -> tuple[float, float]:
    r"""Return :math:`\lambda_1` and :math:`\mathfrak b^*` from largest eigenvalues at two batch sizes, by Theorem 4's first line.

    It is :math:`\lambda'_1 = \lambda_1 (1 + \mathfrak b^* / \mathfrak b)`, whatever noise, of high rank or low, stands behind 𝔟*.

    Args:
        batch: 𝔟 and the mean largest eigenvalue of batches.
        larger: the same of larger ones.

    """
    inverse, inverse_larger = 1 / batch[0], 1 / larger[0]
    slope = max(0.0, (batch[1] - larger[1]) / (inverse - inverse_larger))
    eigenvalue = larger[1] - slope * inverse_larger
    return eigenvalue, slope / eigenvalue


def largest_learning_rate(eigenvalue: float, noise: float, batch: float, images: float | None = None) -> float:
    r"""Return :math:`2 / \lambda'_1`, the limit of SGD's learning rate (Eq. 24) by Theorem 4.

    With 𝔟* of ``critical_batch`` it is :math:`(2/\lambda_1) / (1 + \mathfrak b^*/\mathfrak b)` above 𝔟*, and
    :math:`\sqrt{\mathfrak b/\mathfrak b^*} / \lambda_1` below: its exponent in 𝔟 is at most ½, and it stays below 2/λ₁. The linear growth
    that the paper reads off is the first formula continued below 𝔟*.

    Args:
        eigenvalue: λ₁ > 0 of the Hessian of all images.
        noise: pσ².
        batch: B.
        images: N; None: without end.

    """
    return 2 / batch_extreme(eigenvalue, noise, effective_batch(batch, images))


def scaled_learning_rate(learning_rate: float, *, old: float, new: float, rule: Rule, critical: float, largest: float = math.inf) -> float:
    r"""Return the learning rate for another batch, by a rule: :math:`\min(\alpha (\bar{\mathfrak b}'/\bar{\mathfrak b})^e, \alpha_\max)`.

    e is 1 (linear) or ½ (sqrt), and :math:`\bar{\mathfrak b} = \min(\mathfrak b, \mathfrak b^*)`: beyond 𝔟* there is no further growth.

    Args:
        learning_rate: α at the old batch.
        old: 𝔟 at hand.
        new: 𝔟 asked for.
        rule: exponent.
        critical: 𝔟*.
        largest: α_max; 2/λ₁ for SGD.

    """
    growth = min(new, critical) / min(old, critical)
    return min(learning_rate * (growth if rule == "linear" else math.sqrt(growth)), largest)


def scaled_damping(damping: float, *, rate_growth: float, batch_growth: float, exponent: float = 0.5) -> float:
    r"""Return the damping δ of an adaptive method at another learning rate α and batch: :math:`\delta \propto \alpha / \mathfrak b^{e}`.

    A heuristic. e = ½ follows from Eq. 31, :math:`\delta_\min \approx \alpha \sqrt{p}\,\sigma / \sqrt{\mathfrak b} - \eta_\min`. e = 1
    stands in earlier abstracts of the paper (arXiv 2006.09092) without a theorem.

    Args:
        damping: δ at hand (Adam's eps).
        rate_growth: new learning rate over the old one.
        batch_growth: new 𝔟 over the old one.
        exponent: e.

    """
    return damping * rate_growth / math.pow(batch_growth, exponent)


def cauchy_step(gradient: Float[Tensor, " p"], curved: Float[Tensor, " p"]) -> float:
    r"""Return :math:`g^\top g / g^\top H g`, the step along −g to the minimum of the quadratic model; infinite where it has none.

    Args:
        gradient: g.
        curved: H g.

    """
    form = float(gradient @ curved)
    return float(gradient @ gradient) / form if form > 0 else math.inf
