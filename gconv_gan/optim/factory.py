"""Config of an optimiser -> the optimiser."""

from collections.abc import Iterable

import torch
from torch import nn

from gconv_gan.config.optim import AdamConfig


def build_optimizer(config: AdamConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Return Adam in torch's fused form; its first and second moments are saved with the run."""
    return torch.optim.Adam(parameters, lr=config.learning_rate, betas=config.betas, eps=config.eps, fused=True)
