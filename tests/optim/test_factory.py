"""Optimisers from their configs: update rules, and parameter groups with other settings."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from gconv_gan.config.schema import constructor
from gconv_gan.optim.learning_rates import hold_learning_rates, set_learning_rate
from gconv_gan.optim.optimizers import state_per_weight
from gconv_gan.optim.tables import OPTIMIZERS

START = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
GRADIENTS = [torch.tensor(values, dtype=torch.float64) for values in ([0.3, -0.1, 0.2], [-0.2, 0.4, 0.1], [0.5, 0.0, -0.3])]


class OneWeight(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(START.clone())


def ours(kind: str, **keys: Any) -> Tensor:
    network = OneWeight()
    weight, optimizer = network.weight, constructor(OPTIMIZERS.models()[kind](**keys))(network)
    for gradient in GRADIENTS:
        weight.grad = gradient.clone()
        optimizer.step()
    return weight.detach()


def sgd(weight: Tensor, *, lr: float, momentum: float, nesterov: bool, decay: float) -> Tensor:
    velocity = torch.zeros_like(weight)
    for gradient in GRADIENTS:
        g = gradient + decay * weight
        velocity = momentum * velocity + g
        weight = weight - lr * (g + momentum * velocity if nesterov else velocity)
    return weight


def adam(weight: Tensor, *, lr: float, betas: tuple[float, float], eps: float, decoupled: float) -> Tensor:
    first, second = torch.zeros_like(weight), torch.zeros_like(weight)
    for step, gradient in enumerate(GRADIENTS, start=1):
        weight = weight * (1 - lr * decoupled)
        first = betas[0] * first + (1 - betas[0]) * gradient
        second = betas[1] * second + (1 - betas[1]) * gradient**2
        mean, square = first / (1 - betas[0] ** step), second / (1 - betas[1] ** step)
        weight = weight - lr * mean / (square.sqrt() + eps)
    return weight


@pytest.mark.parametrize(
    ("kind", "keys", "rule"),
    [
        ("sgd", {"learning_rate": 0.1, "weight_decay": 0.01}, lambda w: sgd(w, lr=0.1, momentum=0.9, nesterov=False, decay=0.01)),
        ("sgd", {"nesterov": True, "weight_decay": 0.01}, lambda w: sgd(w, lr=0.1, momentum=0.9, nesterov=True, decay=0.01)),
        ("adam", {"learning_rate": 0.1}, lambda w: adam(w, lr=0.1, betas=(0.0, 0.9), eps=1e-8, decoupled=0.0)),
        ("adamw", {"learning_rate": 0.1}, lambda w: adam(w, lr=0.1, betas=(0.9, 0.999), eps=1e-8, decoupled=0.05)),
    ],
    ids=["sgd", "nesterov", "adam", "adamw"],
)
def test_three_steps_follow_the_rule(kind: str, keys: dict[str, Any], rule: Callable[[Tensor], Tensor]) -> None:
    torch.testing.assert_close(ours(kind, **keys), rule(START.clone()), rtol=1e-12, atol=1e-14)


def test_a_group_keeps_its_own_decay_and_its_share_of_the_learning_rate() -> None:
    weight, scale = (torch.nn.Parameter(START.clone()) for _ in range(2))
    groups = [{"params": [weight]}, {"params": [scale], "weight_decay": 0.0, "lr_scale": 0.01}]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9, weight_decay=0.01)
    hold_learning_rates(optimizer, torch.device("cpu"))
    set_learning_rate(optimizer, 0.05)
    assert [float(group["lr"]) for group in optimizer.param_groups] == pytest.approx([0.05, 0.0005])
    weight.grad, scale.grad = GRADIENTS[0].clone(), GRADIENTS[0].clone()
    optimizer.step()
    torch.testing.assert_close(weight.detach(), START - 0.05 * (GRADIENTS[0] + 0.01 * START))
    torch.testing.assert_close(scale.detach(), START - 0.0005 * GRADIENTS[0])


def test_nesterov_without_momentum_is_refused() -> None:
    with pytest.raises(ValidationError, match="nesterov = true needs a momentum above 0"):
        OPTIMIZERS.models()["sgd"](nesterov=True, momentum=0.0)


@pytest.mark.parametrize(("kind", "keys", "kept"), [("sgd", {}, 1), ("sgd", {"momentum": 0.0}, 0), ("adam", {}, 2), ("adamw", {}, 2)])
def test_a_step_shows_what_an_optimiser_keeps_of_a_weight(kind: str, keys: dict[str, Any], kept: int) -> None:
    assert state_per_weight(constructor(OPTIMIZERS.models()[kind](**keys))) == kept
