"""Parameters and multiply-adds of a network, layer by layer.

A multiply-add (MAC) is counted for every weight application of convolutions and linear maps, embeddings-as-projections excepted,
and for the products of attention; element-wise work, norms and activations count nothing. Fused resampling is counted as it runs:
(k+1)² taps per low-resolution pixel instead of k² per high-resolution one.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gconv_gan.layers.gconv import GConv2d, LatentGate
from gconv_gan.layers.non_local import NonLocal2d
from gconv_gan.layers.resample import Resample, fused_side
from gconv_gan.runtime.modes import evaluating


@dataclass(frozen=True)
class Row:
    """One layer: its name, class, output shape without the batch, parameters and MACs per image."""

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    macs: int
    naive_macs: int
    """MACs with resampling done apart from the convolution."""


def convolution_macs(layer: nn.Conv2d | GConv2d, output: Tensor, *, fused: bool = True) -> int:
    """Return the MACs per image of a convolution (plain, fused or generative) that produced ``output`` [B, O, H, W]."""
    height, width = output.shape[2:]
    groups = layer.geometry.groups if isinstance(layer, GConv2d) else layer.groups
    resample: Resample = layer.geometry.resample if isinstance(layer, GConv2d) else getattr(layer, "resample", "none")
    inputs = layer.in_channels // groups
    taps = math.prod(layer.kernel_size)
    pixels = height * width
    if resample != "none" and (fused or resample == "transposed"):
        pixels, taps = pixels if resample == "down" else pixels // 4, fused_side(layer.kernel_size[0], resample) ** 2
    elif resample == "down":
        pixels *= 4
    per_filter = inputs * taps * pixels
    if not isinstance(layer, GConv2d):
        return per_filter * layer.out_channels
    if layer.mode == "bank":
        # the cheapest order: one mixed k×k kernel per image, then one convolution
        kernel = layer.out_channels * inputs * math.prod(layer.kernel_size)
        return per_filter * layer.out_channels + layer.num_kernels * kernel
    mixing_pixels = height * width // 4 if layer.kernel_size == (1, 1) and resample == "up" else height * width
    return per_filter * layer.num_kernels + layer.num_kernels * layer.out_channels * mixing_pixels


def summarise(network: nn.Module, *inputs: Tensor | None) -> list[Row]:
    """Run ``network(*inputs)`` once in evaluation mode and return one row per module with parameters or products of its own."""
    rows: list[Row] = []

    def measure(name: str, module: nn.Module) -> "torch.utils.hooks.RemovableHandle":
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            parameters = sum(p.numel() for p in _own_parameters(module))
            macs = naive = 0
            if isinstance(module, nn.Conv2d | GConv2d):
                macs, naive = convolution_macs(module, output), convolution_macs(module, output, fused=False)
            elif isinstance(module, nn.Linear):
                macs = naive = module.in_features * module.out_features * (output.numel() // output.shape[0] // output.shape[-1])
            elif isinstance(module, NonLocal2d):
                macs = naive = module.product_macs(*output.shape[2:])
            rows.append(Row(name, _kind(module), tuple(output.shape[1:]), parameters, macs, naive))

        return module.register_forward_hook(hook)

    handles = [measure(name, module) for name, module in network.named_modules() if _has_a_row(name, module)]
    try:
        with evaluating(network), torch.no_grad():
            network(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return rows


def _has_a_row(name: str, module: nn.Module) -> bool:
    if "parametrizations" in name.split("."):  # the parametrised layer speaks for them
        return False
    return isinstance(module, NonLocal2d) or any(True for _ in _own_parameters(module))


def _own_parameters(module: nn.Module) -> Iterator[nn.Parameter]:
    if isinstance(module, LatentGate):  # its linear maps speak for it
        return
    yield from module.parameters(recurse=False)
    parametrizations = getattr(module, "parametrizations", None)
    if isinstance(parametrizations, nn.ModuleDict):
        yield from parametrizations.parameters()


def _kind(module: nn.Module) -> str:
    return type(module).__name__.removeprefix("Parametrized")


def table(rows: list[Row]) -> str:
    """Return the rows as text; the last line is ``total: <params> params, <macs> MACs``."""
    lines = [f"{'layer':42} {'kind':24} {'output':>16} {'params':>12} {'MACs':>16}"]
    for row in rows:
        shape = "×".join(map(str, row.shape))
        lines.append(f"{row.name:42} {row.kind:24} {shape:>16} {row.parameters:12,} {row.macs:16,}")
    lines.append(f"total: {sum(row.parameters for row in rows)} params, {sum(row.macs for row in rows)} MACs")
    return "\n".join(lines)
