"""Initial weights of the SNGAN family, for plain and generative convolutions alike.

Glorot-uniform with gain √2 for 3×3 convolutions inside residual blocks and gain 1 elsewhere (pfnet-research/sngan_projection,
kwotsin/mimicry); biases keep torch's default. Initialise before a parametrisation such as spectral normalisation is registered:
afterwards ``weight`` is a computed value and in-place changes of it are lost.
"""

import math
from functools import partial

from torch import nn

from gconv_gan.layers.gconv import GConv2d
from gconv_gan.layers.kernel_banks import KernelBank2d

BLOCK_GAIN = math.sqrt(2.0)


def glorot_(layer: nn.Module, *, gain: float = 1.0) -> None:
    """Initialise the weight of a convolution, linear map or embedding, or every kernel of a bank or dictionary, Glorot-uniformly."""
    initialiser = partial(nn.init.xavier_uniform_, gain=gain)
    if isinstance(layer, GConv2d | KernelBank2d):
        layer.reset_kernels(initialiser)
    elif isinstance(layer, nn.Conv2d | nn.Linear | nn.Embedding):
        initialiser(layer.weight)
    else:
        raise TypeError(f"no Glorot initialisation is defined for {type(layer).__name__}")
