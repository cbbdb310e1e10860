"""Uniform numbers in [0, 1) turned into what an augmentation needs: every draw is a function of one number."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Uniform = Float[Tensor, "*shape"]
SMALLEST = 2.0**-26  # a quarter of float32's step at 1: keeps the tails finite


def coin(u: Uniform, probability: float | Float[Tensor, "*#shape"] = 0.5) -> Bool[Tensor, "*shape"]:
    """Return true with ``probability``."""
    return u < probability


def between(u: Uniform, low: float, high: float) -> Uniform:
    """Return a number uniform in [low, high)."""
    return low + (high - low) * u


def integer(u: Uniform, low: int, high: int) -> Int[Tensor, "*shape"]:
    """Return an integer uniform in low … high, both included."""
    return (low + (u * (high - low + 1)).floor()).long().clamp_(max=high)


def normal(u: Uniform, std: float) -> Uniform:
    """Return N(0, std²) by the inverse of its distribution function."""
    quantile: Tensor = std * torch.special.ndtri(u.double().clamp(SMALLEST, 1 - SMALLEST))
    return quantile
