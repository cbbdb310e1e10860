"""Config of an optimiser -> the optimiser."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from gconv_gan.config.optim import AdamConfig, AdamWConfig, OptimizerConfig, SGDConfig
from gconv_gan.optim.parameter_groups import parameter_groups


def build_network_optimizer(config: OptimizerConfig, network: nn.Module) -> torch.optim.Optimizer:
    """Return the optimiser of a network's trainable parameters, in groups where ``config`` treats norms or biases apart."""
    decay = "all" if isinstance(config, AdamConfig) else config.decay
    return build_optimizer(config, parameter_groups(network, norm_scale_divisor=config.norm_scale_divisor, decay=decay))


def build_optimizer(config: OptimizerConfig, parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]]) -> torch.optim.Optimizer:
    """Return the optimiser in torch's fused form; everything it remembers is saved with the run.

    ``parameters`` may be groups, ``{"params": […], "weight_decay": 0.0, "lr_scale": 0.01}``: what a group does not say is the
    config's, and the schedule keeps a group's learning rate at ``lr_scale`` times that of the others.
    """
    match config:
        case SGDConfig():
            optimizer: torch.optim.Optimizer = torch.optim.SGD(
                parameters,
                lr=config.learning_rate,
                momentum=config.momentum,
                nesterov=config.nesterov,
                weight_decay=config.weight_decay,
                fused=True,
            )
        case AdamConfig():
            optimizer = torch.optim.Adam(parameters, lr=config.learning_rate, betas=config.betas, eps=config.eps, fused=True)
        case AdamWConfig():
            optimizer = torch.optim.AdamW(
                parameters,
                lr=config.learning_rate,
                betas=config.betas,
                eps=config.eps,
                weight_decay=config.weight_decay,
                fused=True,
            )
    for group in optimizer.param_groups:
        if "capturable" in group:  # a CUDA graph is refused without it; SGD needs nothing
            group["capturable"] = group["params"][0].is_cuda
    return optimizer
