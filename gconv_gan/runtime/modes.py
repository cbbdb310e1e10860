"""Temporary modes of a network, restored exactly: evaluation per sub-module, frozen parameters."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put every sub-module into eval mode, and give each its own flag back afterwards."""
    flags = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in flags:
            module.training = training


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Stop gradients at the parameters of ``network`` (not through it), and restore each ``requires_grad`` afterwards."""
    flags = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    network.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, requires_grad in flags:
            parameter.requires_grad_(requires_grad)
