"""Parameters and multiply-adds of a network, layer by layer: ``python -m gconv_gan.models.summary NAME [--num-classes N]``.

A multiply-add (MAC) is counted for every weight application of convolutions and linear maps, embeddings-as-projections excepted,
and for the products of attention; element-wise operations, norms and activations are not counted. Fused resampling has
(k+1)² taps per low-resolution pixel instead of k² per high-resolution one.
"""

if __name__ == "__main__":  # before large libraries are imported, so that an interrupt prints nothing
    from gconv_gan.runtime.script import run_command

    run_command("gconv_gan.models.summary")

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import torch
import tyro
from torch import Tensor, nn

from gconv_gan.config.base import Config
from gconv_gan.config.errors import UserError
from gconv_gan.config.load import parse_command
from gconv_gan.layers.resample import taps_and_positions
from gconv_gan.models.classifiers.named import CLASSIFIERS, build_classifier
from gconv_gan.runtime.modes import evaluating


@dataclass(frozen=True)
class Row:
    """One layer: its name, class, output shape without the batch, parameters and MACs per image."""

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    macs: int


def macs_of(layer: nn.Module, x: Tensor, y: Tensor) -> int:
    """Return the MACs per image of a layer with input ``x`` and result ``y``: by its own ``macs``, or those of torch's layers; else 0.

    A mixture of kernels is counted as one mixed k×k kernel per image and one convolution with it, the cheapest order.
    """
    own: Callable[..., int] | None = getattr(layer, "macs", None)
    if own is not None:
        return own(x, y)
    if isinstance(layer, nn.Conv2d):
        taps, positions = taps_and_positions((layer.kernel_size[0], layer.kernel_size[1]), getattr(layer, "resample", "none"), y)
        return layer.out_channels * (layer.in_channels // layer.groups) * taps * positions
    if isinstance(layer, nn.Linear):
        return layer.in_features * layer.out_features * math.prod(y.shape[1:-1])
    return 0


def summarise(network: nn.Module, *inputs: Tensor | None) -> list[Row]:
    """Run ``network(*inputs)`` once in evaluation mode and return one row per module with parameters or products of its own."""
    rows: list[Row] = []
    handles = [
        module.register_forward_hook(partial(_record, rows, name)) for name, module in network.named_modules() if _has_a_row(name, module)
    ]
    try:
        with evaluating(network), torch.no_grad():
            network(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return rows


def _record(rows: list[Row], name: str, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
    parameters = sum(p.numel() for p in _own_parameters(module))
    rows.append(Row(name, _kind(module), tuple(output.shape[1:]), parameters, macs_of(module, inputs[0], output)))


def _has_a_row(name: str, module: nn.Module) -> bool:
    if "parametrizations" in name.split("."):  # counted with the parametrised layer
        return False
    return hasattr(module, "macs") or any(True for _ in _own_parameters(module))


def _own_parameters(module: nn.Module) -> Iterator[nn.Parameter]:
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


def summarise_classifier(name: str, *, num_classes: int | None = None, image_size: int | None = None, **swaps: Any) -> list[Row]:
    """Return the rows of a classifier, see ``build_classifier``; nothing is initialised and no image is processed.

    Raises:
        ValueError: for a name or argument that ``build_classifier`` refuses.

    """
    with torch.device("meta"):
        network = build_classifier(name, num_classes=num_classes, image_size=image_size, **swaps)
    # an empty batch gives all shapes without computation
    return summarise(network.to_empty(device="cpu"), torch.empty(0, 3, network.image_size, network.image_size))


class SummaryCommand(Config):
    """Print parameters and MACs of a classifier, layer by layer."""

    name: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[NAME]")] = None
    """A classifier, such as wrn_28_10; None: list all names."""
    num_classes: int | None = None
    """Number of logits; None: 10, or 1000 for an ImageNet network."""
    image_size: int | None = None
    """Side of the images in pixels; None: 32, or 224 for an ImageNet network."""


def main(arguments: Sequence[str]) -> None:
    """Print the table of the named classifier, or the names of all.

    Raises:
        UserError: there is no such classifier, or a number does not fit it.

    """
    command = parse_command(SummaryCommand, arguments)
    if command.name is None:
        print("\n".join(sorted(CLASSIFIERS)))
        return
    try:
        rows = summarise_classifier(command.name, num_classes=command.num_classes, image_size=command.image_size)
    except ValueError as error:
        raise UserError(str(error)) from error
    print(table(rows))
