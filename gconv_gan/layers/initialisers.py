"""Initial weights of the adversarial networks, for plain, generative and dynamic convolutions alike.

SNGAN: Glorot-uniform with gain √2 for 3×3 convolutions inside residual blocks and gain 1 elsewhere (pfnet-research/sngan_projection,
kwotsin/mimicry). BigGAN: orthogonal, or N(0, 0.02²) in its CIFAR script; DCGAN: N(0, 0.02²). Biases keep torch's
default, but are 0 in StudioGAN's networks.

Initialise before a parametrisation such as spectral normalisation is registered: afterwards ``weight`` is a computed value, and
in-place changes of it have no effect.
"""

import math
from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

BLOCK_GAIN = math.sqrt(2.0)
Init = Callable[[Tensor], object]
"""Fills one kernel [O, I/groups, k, k], or one matrix, in place."""


def can_be_initialised(layer: nn.Module) -> bool:
    """Return whether ``initialise_`` can fill the layer."""
    return hasattr(layer, "reset_kernels") or isinstance(layer, nn.Conv2d | nn.Linear | nn.Embedding)


def initialise_(layer: nn.Module, init: Init) -> None:
    """Fill the weight of a convolution, linear map or embedding, or whatever a layer's ``reset_kernels`` fills, by ``init``.

    Each group of a grouped convolution is filled as a separate convolution, so that fans are those of a group.

    Raises:
        TypeError: for a layer of another kind.

    """
    reset: Callable[[Init], None] | None = getattr(layer, "reset_kernels", None)
    if reset is not None:
        reset(init)
    elif isinstance(layer, nn.Conv2d):
        for kernel in layer.weight.chunk(layer.groups):
            init(kernel)
    elif isinstance(layer, nn.Linear | nn.Embedding):
        init(layer.weight)
    else:
        raise TypeError(f"no initialisation is defined for {type(layer).__name__}")


def zero_bias_(layer: nn.Module) -> None:
    """Set the bias of a layer that ``initialise_`` can fill to 0, or whatever its ``zero_biases`` sets; gates and attention keep theirs."""
    reset: Callable[[], None] | None = getattr(layer, "zero_biases", None)
    if reset is not None:
        reset()
    elif isinstance(bias := getattr(layer, "bias", None), Tensor):
        nn.init.zeros_(bias)


def glorot_(layer: nn.Module, *, gain: float = 1.0) -> None:
    """Initialise a layer Glorot-uniformly."""
    initialise_(layer, partial(nn.init.xavier_uniform_, gain=gain))


def orthogonal_(layer: nn.Module) -> None:
    """Initialise a layer's weight, as a matrix of (outputs, rest), with orthonormal rows or columns."""
    initialise_(layer, nn.init.orthogonal_)


def normal_(layer: nn.Module, *, std: float = 0.02) -> None:
    """Initialise a layer's weight as N(0, std²)."""
    initialise_(layer, partial(nn.init.normal_, std=std))
