"""Which entries of a layer's tensors belong to which channel: what pruning removes, holds at zero, and scores.

A layer has one axis of ``inputs``, one of ``outputs``, and if it has filters or kernels of its own that can be removed without a change of
its shape, one of ``kernels``. Torch's layers are described here, every other one by itself, as a ``Sliceable``.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize

from gconv_gan.layers.resample import Resample
from gconv_gan.layers.weights import stored

Axis = Literal["inputs", "outputs", "kernels"]
Tie = tuple[tuple[Axis, int], ...]
"""Channels of one layer, as (axis, channel), that can only be removed together."""


class UnsliceableError(ValueError):
    """No channel of this layer can be removed: the message says why."""


@dataclass(frozen=True)
class Slice:
    """The entries of one tensor that belong to the channels of an axis: position p along ``dim`` belongs to channel ``owners[p]``."""

    module: nn.Module
    name: str
    """Of a parameter, which may be parametrised, or of a buffer of the module."""
    dim: int = 0
    owners: Sequence[int] | None = None
    """None: position p belongs to channel p."""
    reads: bool = False
    """Whether the layer's output depends on the channel through its products with these entries alone, so that a factor on the
    channel is a factor on them."""
    held: float | None = 0.0
    """Value of the entries of a channel that takes no part: 0, far below 0 for the bias of a gate, None for a kernel behind such a
    gate, which may keep its own."""

    @property
    def tensor(self) -> Tensor:
        """Return the stored tensor: of a parametrised weight, the original."""
        if self.name in self.module._buffers:
            return self.module.get_buffer(self.name)
        return stored(self.module, self.name)


class Sliceable:
    """Base of layers that describe their channels themselves, beside ``nn.Module``; it stands first among the bases."""

    def sizes(self) -> Mapping[Axis, int]:
        """Return the number of channels of every axis."""
        raise NotImplementedError

    def slices(self, axis: Axis) -> Iterator[Slice]:
        """Yield the tensors that have an axis of the channels of ``axis``."""
        raise NotImplementedError

    def resized(self, axis: Axis, count: int) -> None:
        """Change what the layer stores of the number of its channels, after its tensors were cut to ``count``."""
        raise NotImplementedError

    def ties(self) -> Iterable[Tie]:
        """Yield the sets of channels of this layer that can only be removed together."""
        return ()

    def floor(self, axis: Axis) -> int:
        """Return the least number of channels that must remain; all of them: none of the axis is removed."""
        return 1

    def stand_in(self) -> nn.Module:
        """Return an ordinary network of convolutions and linear maps that connects the same inputs to the same outputs.

        Channels that are added, concatenated or scaled by each other in the layer are so in the stand-in; it takes no condition, its values
        have no meaning.

        Raises:
            UnsliceableError: channels of this layer cannot be removed.

        """
        raise NotImplementedError


@singledispatch
def sizes(layer: nn.Module) -> Mapping[Axis, int]:
    """Return the number of channels of every axis of a layer: none of a layer without tensors of its own."""
    return {}


@singledispatch
def slices(layer: nn.Module, axis: Axis) -> Iterator[Slice]:
    """Yield the tensors of ``layer`` that have an axis of the channels of ``axis``."""
    yield from ()


@singledispatch
def resized(layer: nn.Module, axis: Axis, count: int) -> None:
    """Change what ``layer`` stores of the number of its channels."""


@singledispatch
def ties(layer: nn.Module) -> Iterable[Tie]:
    """Yield the sets of channels of ``layer`` that can only be removed together."""
    return ()


@singledispatch
def floor(layer: nn.Module, axis: Axis) -> int:
    """Return the least number of channels of ``axis`` that must remain; all of them: none is removed."""
    return 1


@singledispatch
def stand_in(layer: nn.Module) -> nn.Module | None:
    """Return an ordinary network in the layer's place while dependencies are traced; None: its children are looked at instead.

    Raises:
        UnsliceableError: channels of the layer cannot be removed, or it holds parameters and does not describe its channels.

    """
    if any(True for _ in layer.parameters(recurse=False)) or hasattr(layer, "parametrizations"):
        raise UnsliceableError(f"{kind(layer)} does not describe its channels (see gconv_gan.layers.slicing.Sliceable)")
    return None


def kind(layer: nn.Module) -> str:
    """Return the name of a layer's class, also where its weights are parametrised."""
    return type(layer).__name__.removeprefix("Parametrized")


sizes.register(Sliceable, lambda layer: layer.sizes())
slices.register(Sliceable, lambda layer, axis: layer.slices(axis))
resized.register(Sliceable, lambda layer, axis, count: layer.resized(axis, count))
ties.register(Sliceable, lambda layer: layer.ties())
floor.register(Sliceable, lambda layer, axis: layer.floor(axis))
stand_in.register(Sliceable, lambda layer: layer.stand_in())


# ---- torch's layers ------------------------------------------------------------------------------------------------


@sizes.register
def _(layer: nn.Conv2d) -> Mapping[Axis, int]:
    return {"inputs": layer.in_channels, "outputs": layer.out_channels}


@slices.register
def _(layer: nn.Conv2d, axis: Axis) -> Iterator[Slice]:
    if axis == "outputs":
        yield Slice(layer, "weight", 0)
        if layer.bias is not None:
            yield Slice(layer, "bias")
    elif layer.groups == 1:  # whole groups are removed with their outputs
        yield Slice(layer, "weight", 1, reads=True)


@resized.register
def _(layer: nn.Conv2d, axis: Axis, count: int) -> None:
    if axis == "inputs":
        layer.in_channels = count
    else:
        layer.groups = layer.groups * count // layer.out_channels if layer.groups > 1 else 1
        layer.out_channels = count


@ties.register
def _(layer: nn.Conv2d) -> Iterable[Tie]:
    return grouped_ties(layer.groups, layer.in_channels, layer.out_channels)


@stand_in.register
def _(layer: nn.Conv2d) -> nn.Module:
    return ordinary_conv(
        layer.in_channels,
        layer.out_channels,
        (layer.kernel_size[0], layer.kernel_size[1]),
        stride=(layer.stride[0], layer.stride[1]),
        padding=layer.padding,
        dilation=(layer.dilation[0], layer.dilation[1]),
        resample=getattr(layer, "resample", "none"),
    )


@sizes.register
def _(layer: nn.Linear) -> Mapping[Axis, int]:
    return {"inputs": layer.in_features, "outputs": layer.out_features}


@slices.register
def _(layer: nn.Linear, axis: Axis) -> Iterator[Slice]:
    if axis == "inputs":
        yield Slice(layer, "weight", 1, reads=True)
    else:
        yield Slice(layer, "weight", 0)
        if layer.bias is not None:
            yield Slice(layer, "bias")


@resized.register
def _(layer: nn.Linear, axis: Axis, count: int) -> None:
    setattr(layer, "in_features" if axis == "inputs" else "out_features", count)


@stand_in.register
def _(layer: nn.Linear) -> nn.Module:
    return nn.Linear(layer.in_features, layer.out_features)


@stand_in.register
def _(layer: nn.Embedding) -> nn.Module:
    return Constant(layer.embedding_dim)  # classes enter by conditions, whose readers have no channel of their own for them


@sizes.register
def _(layer: _BatchNorm) -> Mapping[Axis, int]:
    return {"outputs": layer.num_features}


@slices.register
def _(layer: _BatchNorm, axis: Axis) -> Iterator[Slice]:
    for name in ("weight", "bias", "running_mean", "running_var"):
        if axis == "outputs" and getattr(layer, name) is not None:
            yield Slice(layer, name)


@resized.register
def _(layer: _BatchNorm, axis: Axis, count: int) -> None:
    if axis == "outputs":
        layer.num_features = count


@stand_in.register
def _(layer: _BatchNorm) -> nn.Module:
    return nn.BatchNorm2d(layer.num_features)


@sizes.register
def _(layer: nn.GroupNorm) -> Mapping[Axis, int]:
    return {"outputs": layer.num_channels}


@slices.register
def _(layer: nn.GroupNorm, axis: Axis) -> Iterator[Slice]:
    if layer.affine and axis == "outputs":
        yield Slice(layer, "weight")
        yield Slice(layer, "bias")


@resized.register
def _(layer: nn.GroupNorm, axis: Axis, count: int) -> None:
    if axis == "outputs":
        layer.num_groups = layer.num_groups * count // layer.num_channels
        layer.num_channels = count


@ties.register
def _(layer: nn.GroupNorm) -> Iterable[Tie]:
    return blocks("outputs", layer.num_channels, layer.num_groups)


@stand_in.register
def _(layer: nn.GroupNorm) -> nn.Module:
    return nn.BatchNorm2d(layer.num_channels)


@sizes.register
def _(layer: nn.LayerNorm) -> Mapping[Axis, int]:
    return {"outputs": layer.normalized_shape[-1]}


@floor.register
def _(layer: nn.LayerNorm, axis: Axis) -> int:
    return layer.normalized_shape[-1]  # mean and variance of the others would be other ones without a channel


@stand_in.register
def _(layer: nn.LayerNorm) -> nn.Module:
    return nn.LayerNorm(layer.normalized_shape)


# ---- for layers that describe themselves -----------------------------------------------------------------------------


def ordinary_conv(
    in_channels: int,
    out_channels: int,
    kernel_size: tuple[int, int],
    *,
    stride: tuple[int, int] = (1, 1),
    padding: int | tuple[int, ...] | str = 0,
    dilation: tuple[int, int] = (1, 1),
    resample: Resample = "none",
) -> nn.Module:
    """Return a dense convolution of torch with its resampling beside it, as the stand-in of a convolution of any kind."""
    if resample == "transposed":
        return nn.ConvTranspose2d(in_channels, out_channels, kernel_size, 2, padding, bias=False)  # type: ignore[arg-type]
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, dilation, bias=False)  # type: ignore[arg-type]
    beside: dict[str, list[nn.Module]] = {"none": [conv], "up": [nn.Upsample(scale_factor=2), conv], "down": [conv, nn.AvgPool2d(2)]}
    return nn.Sequential(*beside[resample])


class Constant(nn.Module):
    """A layer with the result zeros [B, d] for a batch of B, without a graph: it replaces a layer that has no channels to remove."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = features

    def forward(self, x: Tensor, *others: Tensor | None) -> Tensor:
        return torch.zeros(len(x), self.features, device=x.device)


def grouped_ties(groups: int, inputs: int, outputs: int) -> Iterable[Tie]:
    """Yield, for a grouped convolution, the inputs and outputs of every group."""
    if groups > 1:
        pairs = zip(blocks("inputs", inputs, groups), blocks("outputs", outputs, groups), strict=True)
        yield from (first + second for first, second in pairs)


def blocks(axis: Axis, channels: int, count: int) -> Iterator[Tie]:
    """Yield ``count`` equal blocks of neighbouring channels."""
    size = channels // count
    yield from (tuple((axis, index * size + place) for place in range(size)) for index in range(count))


def repeated(channels: int, times: int) -> list[int]:
    """Return the owners of ``times`` neighbouring positions for each channel."""
    return [channel for channel in range(channels) for _ in range(times)]


# ---- cutting -------------------------------------------------------------------------------------------------------


@torch.no_grad()
def keep(layer: nn.Module, axis: Axis, kept: Sequence[int]) -> None:
    """Cut the tensors of ``layer`` to the channels ``kept`` of ``axis``, in place; parameters become new ones.

    The vectors of a spectral normalisation are cut with their weight and not normalised again: where the removed entries were 0, σ and the
    normalised weight are those of the layer before.
    """
    wanted = set(kept)
    for part in list(slices(layer, axis)):
        owners = range(part.tensor.shape[part.dim]) if part.owners is None else part.owners
        positions = torch.tensor(
            [place for place, owner in enumerate(owners) if owner in wanted], dtype=torch.long, device=part.tensor.device
        )
        _cut(part, positions)
    resized(layer, axis, len(wanted))


def _cut(part: Slice, positions: Tensor) -> None:
    old = part.tensor
    new = old.index_select(part.dim, positions)
    if old.ndim == 4 and not old.is_contiguous() and old.is_contiguous(memory_format=torch.channels_last):
        new = torch.empty_like(new, memory_format=torch.channels_last).copy_(new)
    if part.name in part.module._buffers:
        part.module.register_buffer(part.name, new, persistent=part.name not in part.module._non_persistent_buffers_set)
        return
    parameter = nn.Parameter(new, requires_grad=old.requires_grad)
    if not parametrize.is_parametrized(part.module, part.name):
        part.module.register_parameter(part.name, parameter)
        return
    chain: Any = part.module.parametrizations[part.name]  # type: ignore[index]
    chain.register_parameter("original", parameter)
    for step in chain:
        step.cut(old.shape, part.dim, positions)
