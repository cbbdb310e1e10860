"""Which tensors of a network are weights in the sense of spectral normalisation and orthogonal regularisation."""

from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn.utils import parametrize

from gconv_gan.layers.conv_norm import ConvNorm2d
from gconv_gan.layers.gconv import GConv2d
from gconv_gan.layers.kernel_banks import KernelBank2d


def weights_of(network: nn.Module, *, embeddings: bool) -> Iterator[tuple[nn.Module, str]]:
    """Yield (layer, name) of every weight: "weight", a "bank" of kernels, or a "dictionary" and its "mix".

    Gates and styles of dynamic convolutions are none, nor are ``ConvNorm2d`` layers, which ignore the scale of their filters, with
    what is in them; embeddings are if asked for.
    """
    match network:
        case ConvNorm2d():
            return
        case GConv2d(mode="bank") | KernelBank2d():
            yield network, "bank"
        case GConv2d():
            yield network, "dictionary"
            yield network, "mix"
        case nn.Conv2d() | nn.Linear():
            yield network, "weight"
        case nn.Embedding():
            if embeddings:
                yield network, "weight"
        case _:
            for child in network.children():
                yield from weights_of(child, embeddings=embeddings)


def stored(layer: nn.Module, name: str) -> nn.Parameter:
    """Return the parameter behind a weight: the weight itself, or what a parametrisation computes it from."""
    holder = layer
    if parametrize.is_parametrized(layer, name):
        holder, name = layer.parametrizations[name], "original"  # type: ignore[index,assignment]
    return holder.get_parameter(name)


def as_matrices(weight: Tensor) -> Tensor:
    """Return a weight as matrices (outputs, rest): [O, I k k], or [K, O, I k k] for a bank."""
    return weight.flatten(2) if weight.ndim == 5 else weight.flatten(1)
