"""The optimisers, in torch's fused form; their whole state is saved in checkpoints.

Each takes the network and puts its trainable parameters into groups if norms or biases are treated differently.
"""

from collections.abc import Callable
from typing import Annotated, Any

import torch
from pydantic import AfterValidator, Field, NonNegativeFloat, PositiveFloat
from torch import nn

from gconv_gan.config.ranges import Beta
from gconv_gan.optim.parameter_groups import Decay, parameter_groups

Divisor = Annotated[float, Field(ge=1)]


def _with_momentum(nesterov: bool, info: Any) -> bool:  # pydantic.ValidationInfo, a protocol that cannot be checked at run time
    if nesterov and not info.data.get("momentum"):
        raise ValueError("nesterov = true needs a momentum above 0")
    return nesterov


def sgd(
    network: nn.Module,
    *,
    norm_scale_divisor: Divisor = 1.0,
    learning_rate: PositiveFloat = 0.1,
    momentum: Beta = 0.9,
    nesterov: Annotated[bool, AfterValidator(_with_momentum)] = False,
    weight_decay: NonNegativeFloat = 5e-4,
    decay: Decay = "all",
) -> torch.optim.Optimizer:
    """Stochastic gradient descent with momentum.

    Returns the optimiser of all parameters of ``network``.

    Args:
        network: whose parameters are optimised.
        norm_scale_divisor: Divisor of the learning rate of the norms' scales (100 for norms with initial scale 0.1).
        learning_rate: Learning rate before the schedule.
        momentum: Decay of the running sum of gradients.
        nesterov: Step along the gradient plus the decayed running sum, Nesterov's form.
        weight_decay: Multiple of the weight added to its gradient.
        decay: The parameters with weight decay: all, or all but norms and biases.

    """
    groups = parameter_groups(network, norm_scale_divisor=norm_scale_divisor, decay=decay)
    return torch.optim.SGD(groups, lr=learning_rate, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay, fused=True)


def adam(
    network: nn.Module,
    *,
    norm_scale_divisor: Divisor = 1.0,
    learning_rate: PositiveFloat = 2e-4,
    betas: tuple[Beta, Beta] = (0.0, 0.9),
    eps: PositiveFloat = 1e-8,
) -> torch.optim.Optimizer:
    """Adam.

    Returns the optimiser of all parameters of ``network``.

    Args:
        network: whose parameters are optimised.
        norm_scale_divisor: Divisor of the learning rate of the norms' scales (100 for norms with initial scale 0.1).
        learning_rate: Learning rate before the schedule.
        betas: Decay of the first and second moment.
        eps: Added to the root of the second moment.

    """
    groups = parameter_groups(network, norm_scale_divisor=norm_scale_divisor)
    return torch.optim.Adam(groups, lr=learning_rate, betas=betas, eps=eps, fused=True)


def adamw(
    network: nn.Module,
    *,
    norm_scale_divisor: Divisor = 1.0,
    learning_rate: PositiveFloat = 1e-3,
    betas: tuple[Beta, Beta] = (0.9, 0.999),
    eps: PositiveFloat = 1e-8,
    weight_decay: NonNegativeFloat = 0.05,
    decay: Decay = "all",
) -> torch.optim.Optimizer:
    """Adam with decoupled weight decay.

    Returns the optimiser of all parameters of ``network``.

    Args:
        network: whose parameters are optimised.
        norm_scale_divisor: Divisor of the learning rate of the norms' scales (100 for norms with initial scale 0.1).
        learning_rate: Learning rate before the schedule.
        betas: Decay of the first and second moment.
        eps: Added to the root of the second moment.
        weight_decay: Share of the weight, times the learning rate, that a step subtracts.
        decay: The parameters with weight decay: all, or all but norms and biases.

    """
    groups = parameter_groups(network, norm_scale_divisor=norm_scale_divisor, decay=decay)
    return torch.optim.AdamW(groups, lr=learning_rate, betas=betas, eps=eps, weight_decay=weight_decay, fused=True)


def state_per_weight(build_optimizer: Callable[[nn.Module], torch.optim.Optimizer]) -> int:
    """Return how many numbers the optimiser keeps per number of a weight (SGD's momentum 1, Adam's moments 2), found by one step."""
    network = nn.Linear(2, 3)
    optimizer = build_optimizer(network)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    kept = optimizer.state[network.weight].values()
    return sum(isinstance(value, torch.Tensor) and value.shape == network.weight.shape for value in kept)
