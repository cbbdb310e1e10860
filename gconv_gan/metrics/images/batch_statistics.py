"""Normalisation by batch statistics in evaluation, as in StudioGAN's tables: an image then depends on the others of its batch."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from gconv_gan.layers.norms.running_statistics import RunningStatistics
from gconv_gan.runtime.modes import evaluating


@contextmanager
def batch_statistics(network: nn.Module) -> Iterator[None]:
    """Let every layer with running statistics use those of its batch, on this process alone.

    All other layers are in eval mode; flags and buffers are restored afterwards.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm | RunningStatistics)]
    shared = [(norm, norm.over_processes) for norm in norms if isinstance(norm, RunningStatistics)]
    before = [(buffer, buffer.clone()) for norm in norms for buffer in norm.buffers()]
    with evaluating(network):
        for norm in norms:
            norm.train()
        for norm, _ in shared:
            norm.over_processes = False
        try:
            yield
        finally:
            for norm, over_processes in shared:
                norm.over_processes = over_processes
            with torch.no_grad():
                for buffer, value in before:
                    buffer.copy_(value)
