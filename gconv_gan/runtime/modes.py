"""Temporary modes of a network, restored exactly: evaluation, no dropout, frozen parameters, full precision, copied buffers."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Set every sub-module to eval mode, and restore the ``training`` flag of each afterwards."""
    flags = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in flags:
            module.training = training


@contextmanager
def without_dropout(network: nn.Module) -> Iterator[None]:
    """Set every dropout layer, of torch's or derived from one, to eval mode; restore the ``training`` flag of each afterwards."""
    flags = [(module, module.training) for module in network.modules() if isinstance(module, _DropoutNd)]
    for module, _ in flags:
        module.training = False
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


@contextmanager
def full_precision(network: nn.Module) -> Iterator[None]:
    """Run the forward passes of ``network`` without autocast, also the one that Accelerate's ``prepare`` puts into its ``forward``."""
    # prepare() sets the wrapped function as an attribute of the instance, in front of the class's own
    wrapped = network.__dict__.pop("forward", None)
    try:
        with torch.autocast(next(network.parameters()).device.type, enabled=False):
            yield
    finally:
        if wrapped is not None:
            network.forward = wrapped


def without_autocast(network: nn.Module) -> None:
    """Undo what Accelerate's ``prepare`` does to a network itself: the autocast around its ``forward``, and the mark that it is there."""
    for name in ("forward", "_original_forward", "_is_accelerate_prepared"):
        network.__dict__.pop(name, None)


@contextmanager
def copied_buffers(network: nn.Module) -> Iterator[None]:
    """Let passes read and change copies of the buffers of ``network`` (running statistics, power iterations), and drop the copies.

    The buffers themselves are not written to, so that a graph made in the body can be differentiated after it.
    """
    kept = [(module, dict(module._buffers)) for module in network.modules()]
    for module, buffers in kept:
        module._buffers.update({name: None if buffer is None else buffer.clone() for name, buffer in buffers.items()})
    try:
        yield
    finally:
        for module, buffers in kept:
            module._buffers.update(buffers)
