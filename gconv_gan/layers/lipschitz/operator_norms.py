r"""Lipschitz verifier: independent bounds of the operator norm of every linear layer of a network.

The norm of a layer lies between a lower bound, by Lanczos iteration with automatic differentiation of the layer,
and an upper bound, from the spectrum of its effective kernel on an enlarged periodic grid (``layers.convolution_norms``).
The product of the upper bounds along a path, with 1-Lipschitz activations, bounds the Lipschitz constant of the path.
"""

import copy
import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gconv_gan.layers.lipschitz.conv_norm import ConvNorm2d, filtered_spectrum, has_spectral_norm
from gconv_gan.layers.lipschitz.convolution_norms import (
    circular_norm,
    lanczos_norm,
    largest_singular_value,
    reshape_norm,
    zero_padded_bound,
)
from gconv_gan.layers.resample import Resample, fused_kernel

LINEAR_LAYERS = (nn.Conv2d, nn.Linear, nn.Embedding)
POOL_NORM, UPSAMPLE_NORM = 0.5, 2.0  # 2x2 average pooling; nearest doubling


@dataclass(frozen=True)
class LayerNorms:
    """Bounds of one layer's operator norm: ``lower`` <= norm <= ``upper``; ``exact`` where both are the norm itself."""

    lower: float
    upper: float
    exact: float | None = None


@dataclass(frozen=True)
class LayerRow:
    """One layer of a network: its name, class, bounds, and the norm of its weight as a matrix (O, rest).

    ``kind`` is the class name, followed by "+spectral_norm" for a spectrally normalised weight; ``input_shape`` is without the batch.
    """

    name: str
    kind: str
    weight_shape: tuple[int, ...]
    input_shape: tuple[int, ...]
    norms: LayerNorms
    reshape_sigma: float


def layer_norms(module: nn.Module, input_shape: tuple[int, ...], *, iterations: int = 40) -> LayerNorms:
    """Return bounds of the norm of a ``Conv2d``, ``ResampledConv2d``, ``ConvNorm2d``, ``Linear`` or ``Embedding`` layer.

    The layer is copied into evaluation mode and float64, so that reading a spectrally normalised weight does not advance its
    power iteration. Its bias does not count. An embedding of C classes is the linear map of one-hot vectors.

    Args:
        module: the layer, with any parametrisation of its weight.
        input_shape: of one sample, without the batch: (I, H, W) for a convolution.
        iterations: of the Lanczos iteration behind ``lower``.

    Raises:
        ValueError: for another kind of module, or a convolution for which no upper bound is known (padding beyond k-1 or by
            reflected or repeated pixels, dilation).

    """
    layer = copy.deepcopy(module).double().eval().requires_grad_(False)
    if isinstance(layer, nn.Linear | nn.Embedding):
        exact = reshape_norm(layer.weight)
        return LayerNorms(exact, exact, exact)
    if not isinstance(layer, nn.Conv2d):
        raise ValueError(f"the norm of a {type(module).__name__} is not known: pass a Conv2d, ConvNorm2d, Linear or Embedding")
    size = (input_shape[1], input_shape[2])
    exact_norm = _exact_norm(layer, size)
    if exact_norm is not None:
        return LayerNorms(exact_norm, exact_norm, exact_norm)
    upper = _conv_norm_bound(layer, size) if isinstance(layer, ConvNorm2d) else _convolution_bound(layer, size)
    device = layer.weight.device
    return LayerNorms(lanczos_norm(layer, (1, *input_shape), iterations=iterations, device=device), upper)


def discriminator_table(network: nn.Module, *example_inputs: Tensor, iterations: int = 40) -> list[LayerRow]:
    """Return a row of norms for each linear layer that ``network(*example_inputs)`` runs, in the order of the calls.

    A copy of the network is run once, in evaluation mode, to record the shapes; the network itself is not changed. Layers are
    those of :func:`layer_norms`; a layer called with several input shapes has a row for each. Layers whose kernel depends on the
    sample, such as ``GConv2d``, have no norm of their own and no row.
    """
    network = copy.deepcopy(network).eval()
    names: dict[nn.Module, str] = {module: name for name, module in network.named_modules() if isinstance(module, LINEAR_LAYERS)}
    for convolution in [module for module in names if isinstance(module, ConvNorm2d)]:
        names.pop(convolution.affine, None)  # part of its layer
    calls: dict[tuple[nn.Module, tuple[int, ...]], None] = {}

    def record(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        calls[module, tuple(inputs[0].shape[1:])] = None

    hooks = [module.register_forward_pre_hook(record) for module in names]
    with torch.no_grad():
        network(*example_inputs)
    for hook in hooks:
        hook.remove()
    return [_row(names[module], module, shape, iterations) for module, shape in calls]


def _row(name: str, module: nn.Module, input_shape: tuple[int, ...], iterations: int) -> LayerRow:
    kind = parametrize.type_before_parametrizations(module).__name__ + ("+spectral_norm" if has_spectral_norm(module) else "")
    weight = cast(Tensor, module.weight)
    norms = layer_norms(module, input_shape, iterations=iterations)
    return LayerRow(name, kind, tuple(weight.shape), input_shape, norms, reshape_norm(weight.double()))


def _exact_norm(layer: nn.Conv2d, size: tuple[int, int]) -> float | None:
    """Return the norm where it is known exactly: 1x1 kernels, and circular padding that keeps the size."""
    plain = not isinstance(layer, ConvNorm2d)
    if layer.kernel_size == (1, 1) and layer.stride == (1, 1) and layer.padding == (0, 0) and plain:
        # The matrix acts at each place, so its norm multiplies that of the resampling.
        return circular_norm(layer.weight, (1, 1), groups=layer.groups) * _resampling_norm(layer)
    same = layer.padding == "same" or layer.padding == tuple((k - 1) / 2 for k in layer.kernel_size)
    square_stride = layer.stride[0] == layer.stride[1] and size[0] % layer.stride[0] == 0 and size[1] % layer.stride[0] == 0
    circular = layer.padding_mode == "circular" and same and square_stride and layer.dilation == (1, 1)
    if circular and plain and _resampling_norm(layer) == 1.0:
        return circular_norm(layer.weight, size, stride=layer.stride[0], groups=layer.groups)
    return None


def _convolution_bound(layer: nn.Conv2d, size: tuple[int, int]) -> float:
    if layer.padding_mode != "zeros" or layer.dilation != (1, 1):
        raise ValueError(
            f"no upper bound is known for a convolution with padding_mode={layer.padding_mode!r} and dilation {layer.dilation}"
        )
    if not isinstance(layer.padding, str) and any(p > k - 1 for p, k in zip(layer.padding, layer.kernel_size, strict=True)):
        raise ValueError(f"no upper bound is known for padding {layer.padding} beyond k-1 of kernel {layer.kernel_size}")
    resample: Resample = getattr(layer, "resample", "none")
    if resample == "none":
        stride = layer.stride[0] if layer.stride[0] == layer.stride[1] else 1
        return zero_padded_bound(layer.weight, size, stride=stride, groups=layer.groups)
    wide = fused_kernel(layer.weight, resample)
    if resample == "down":
        return zero_padded_bound(wide, size, stride=2, groups=layer.groups)
    # A transposed convolution (upsampling and convolving is one, too) is the adjoint of a convolution of stride 2 on the large image.
    return max(zero_padded_bound(w.transpose(0, 1), (2 * size[0], 2 * size[1]), stride=2) for w in wide.chunk(layer.groups))


def _conv_norm_bound(layer: ConvNorm2d, size: tuple[int, int]) -> float:
    """Return the largest norm of diag(V) A^ over the frequencies, times the bounds of what comes before and after the filter."""
    if not isinstance(layer.bn, nn.Identity):
        return math.inf  # it divides by a variance without a lower bound
    factor = 2 if layer.resample == "up" else 1
    grid = (factor * size[0] + layer.kernel_size[0] - 1, factor * size[1] + layer.kernel_size[1] - 1)
    gain = layer.spectral_gain(grid, torch.float64)
    bound = 0.0
    for matrices in filtered_spectrum(layer.weight, gain, layer.groups, torch.float64):
        bound = largest_singular_value(matrices, at_least=bound)
    bound *= _resampling_norm(layer)
    if isinstance(layer.affine, nn.Conv2d):
        bound *= zero_padded_bound(layer.affine.weight, grid, groups=layer.out_channels)
    return bound


def _resampling_norm(layer: nn.Conv2d) -> float:
    return {"none": 1.0, "down": POOL_NORM, "up": UPSAMPLE_NORM}[getattr(layer, "resample", "none")]
