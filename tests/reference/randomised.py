"""Random parameters and statistics, so that a comparison does not pass because norms are at their initial identity."""

import torch
from torch import Tensor, nn


def randomise(module: nn.Module, *, std: float = 0.3) -> nn.Module:
    """Give every parameter and running statistic of ``module`` a random value, in double precision; return it in evaluation mode."""
    for name, tensor in module.double().state_dict().items():
        if tensor.is_floating_point():
            tensor.normal_(std=std)
            if name.endswith("running_var"):
                tensor.abs_().add_(0.5)
    return module.eval()


def x64(*shape: int) -> Tensor:
    """Return normal random numbers in double precision."""
    return torch.randn(*shape, dtype=torch.float64)
