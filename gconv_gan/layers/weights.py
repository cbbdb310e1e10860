"""The weights of a network for spectral normalisation and orthogonal regularisation, and their layout in memory."""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


def weights_of(network: nn.Module, *, embeddings: bool) -> Iterator[tuple[nn.Module, str]]:
    """Yield (layer, name) of every weight: "weight", a "bank" of kernels, or a "dictionary" and its "mix".

    A layer with several weights has a method ``weights()`` that yields them. Gates and styles of dynamic convolutions are not weights, nor
    are the filters of a ``ConvNorm2d``, which does not depend on their scale. Embeddings are weights on request.
    """
    weights: Callable[[], Iterable[tuple[nn.Module, str]]] | None = getattr(network, "weights", None)
    if callable(weights):
        yield from weights()
    elif isinstance(network, nn.Conv2d | nn.Linear) or (embeddings and isinstance(network, nn.Embedding)):
        yield network, "weight"
    else:
        for child in network.children():
            yield from weights_of(child, embeddings=embeddings)


def stored(layer: nn.Module, name: str) -> nn.Parameter:
    """Return the parameter of a weight: the weight itself, or the original of its parametrisation."""
    holder = layer
    if parametrize.is_parametrized(layer, name):
        holder, name = layer.parametrizations[name], "original"  # type: ignore[index,assignment]
    return holder.get_parameter(name)


def as_matrices(weight: Tensor) -> Tensor:
    """Return a weight as matrices (outputs, rest): [O, I k k], or [K, O, I k k] for a bank."""
    return weight.flatten(2) if weight.ndim == 5 else weight.flatten(1)


def channels_last(network: nn.Module) -> None:
    """Lay out convolution weights as convolution libraries are fastest; ``nn.Module.to`` refuses banks, which have five axes."""
    for parameter in network.parameters():
        if parameter.ndim == 4:
            # not contiguous(), which leaves a 1x1 kernel's strides as they are: a rebuilt network would differ from the one that was cut
            parameter.data = torch.empty_like(parameter, memory_format=torch.channels_last).copy_(parameter)
