"""Transformations of uniform numbers in [0, 1) to other distributions: every draw is a function of one number."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Uniform = Float[Tensor, "*shape"]
SMALLEST = 2.0**-26  # a quarter of float32's step at 1: keeps the tails finite


def coin(u: Uniform, probability: float | Float[Tensor, "*#shape"] = 0.5) -> Bool[Tensor, "*shape"]:
    """Return booleans that are true with ``probability``."""
    return u < probability


def between(u: Uniform, low: float, high: float) -> Uniform:
    """Return numbers uniform in [low, high)."""
    return low + (high - low) * u


def integer(u: Uniform, low: int, high: int) -> Int[Tensor, "*shape"]:
    """Return integers uniform in low … high, both included."""
    return (low + (u * (high - low + 1)).floor()).long().clamp_(max=high)


def normal(u: Uniform, std: float) -> Uniform:
    """Return numbers from N(0, std²), by the inverse of its distribution function."""
    quantile: Tensor = std * torch.special.ndtri(u.double().clamp(SMALLEST, 1 - SMALLEST))
    return quantile
