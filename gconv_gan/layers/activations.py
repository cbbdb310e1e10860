r"""Leaky ReLU with the slope of DCGAN, and the gain of each activation that preserves the second moment of its input.

ELU: Clevert, Unterthiner, Hochreiter, "Fast and Accurate Deep Network Learning by Exponential Linear Units", ICLR 2016,
arXiv 1511.07289: :math:`f(x) = x` for x > 0 and :math:`\alpha (e^x - 1)` below, with :math:`\alpha = 1`; 1-Lipschitz and
continuously differentiable. No activation works in place, since skip connections use the input again.
"""

from collections.abc import Callable
from functools import cache, partial

import torch
from torch import nn

LEAKY_RELU: Callable[[], nn.Module] = partial(nn.LeakyReLU, 0.2)
"""The slope of DCGAN and its successors; torch's default is 0.01."""
RECTIFIERS = (nn.ReLU, nn.LeakyReLU)


def rectifier_slope(activation: nn.Module) -> float | None:
    r"""Return a of :math:`\max(v, a v)`, from 0 to 1; None for another activation."""
    if type(activation) is nn.ReLU:
        return 0.0
    if type(activation) is nn.LeakyReLU and 0 <= activation.negative_slope <= 1:
        return float(activation.negative_slope)
    return None


@cache
def activation_gain(activation: Callable[[], nn.Module]) -> float:
    r"""Return the gain g of the weights before or after an activation f that keeps the second moment of the signal.

    .. math:: g = \mathbb E[f(u)^2]^{-1/2}, \qquad u \sim \mathcal N(0, 1)

    the criterion of He, Zhang, Ren, Sun, arXiv 1502.01852, equation 10, for any f: :math:`\sqrt 2` for ReLU,
    :math:`\sqrt{2/(1+a^2)}` for a leaky one of slope a, as ``torch.nn.init.calculate_gain`` has them. torch's values for tanh (5/3)
    and SELU (3/4) follow other rules, and torch has none for the other activations. By quadrature, to 1e-9.
    """
    # 0, where activations are not smooth, is a grid point; on the CPU even if networks are built on another device
    u = torch.linspace(-12.0, 12.0, 2**16 + 1, dtype=torch.float64, device="cpu")
    density = torch.exp(-0.5 * u.square()) / (2 * torch.pi) ** 0.5
    return float(torch.trapezoid(activation()(u).square() * density, u).rsqrt())
