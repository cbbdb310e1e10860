"""Ghost modules: an ordinary convolution computes a part of the output maps, and cheap depthwise operations on them the rest.

Han, Wang, Tian, Guo, Xu, Xu, "GhostNet: More Features from Cheap Operations", CVPR 2020 (arXiv 1911.11907), equations 3 and 4 and
figure 3; facts from huawei-noah/Efficient-AI-Backbones (``ghostnet_pytorch``), whose outputs timm's ``ghostnet_*`` reproduce.
"""

import math
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn

from gconv_gan.config.hints import check_choice
from gconv_gan.layers.blocks.block_parts import (
    STANDARD,
    ActivationConstructor,
    AttentionConstructor,
    ConvConstructor,
    NormConstructor,
    Parts,
)
from gconv_gan.layers.initialisers import Init, initialise_, zero_bias_
from gconv_gan.layers.resample import Resample
from gconv_gan.layers.slicing import (
    Axis,
    Slice,
    Sliceable,
    Tie,
    UnsliceableError,
    ordinary_conv,
    repeated,
    resized,
    sizes,
    slices,
    stand_in,
    ties,
)


class GhostModule(Sliceable, nn.Module):
    r"""A replacement of a dense ``Conv2d`` at about 1/s of its cost.

    .. math:: Y' = W * X \;\; (m = \lceil n/s \rceil \text{ maps}), \qquad Y''_{i,j} = w_{i,j} * Y'_i \;\; (j = 1 \dots s-1),
        \qquad Y = [Y', Y'']_{1 \dots n}

    with d×d kernels w of stride 1; ghost j of map i is channel i(s−1)+j of Y''. If a ``norm`` or ``activation`` is given,
    each of the two parts has its own, as in GhostNet; otherwise the network's norm follows the module, as it follows a
    convolution. s = 1 is the convolution itself. Input [B, I, H, W], result as Conv2d's [B, n, H', W'].

    Args:
        in_channels: I.
        out_channels: n.
        kernel_size: of W.
        stride: of W.
        padding: of W.
        dilation: of W.
        groups: must be 1: for a grouped convolution a ghost module increases the cost.
        bias: of both convolutions.
        ratio: Output maps per map of the ordinary convolution (s).
        cheap_kernel_size: Side of the depthwise kernels of the other maps (d); odd, 1 scales channels.
        norm: ``norm(channels)`` after each part.
        activation: ``activation()`` after each part.
        conv: constructor of W.
        resample: "up" or "down" before or after W, for a ``conv`` that takes it, such as ``ResampledConv2d``.

    Raises:
        ValueError: for an unknown ``resample``, groups other than 1, a ratio below 1, or an even cheap kernel.

    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        ratio: PositiveInt = 2,
        cheap_kernel_size: PositiveInt = 3,
        norm: NormConstructor | None = None,
        activation: ActivationConstructor | None = None,
        conv: ConvConstructor = nn.Conv2d,
        resample: Resample = "none",
    ) -> None:
        super().__init__()
        check_choice("resample", resample, Resample)
        if groups != 1:
            raise ValueError(f"a ghost module replaces a dense convolution, not one of {groups} groups, whose cost it would increase")
        if ratio < 1 or cheap_kernel_size % 2 == 0:
            raise ValueError(f"ratio must be at least 1 and cheap_kernel_size odd, not {ratio} and {cheap_kernel_size}")
        self.out_channels, self.ratio = out_channels, ratio
        self._stand_in = partial(ordinary_conv, stride=(stride, stride), padding=padding, dilation=(dilation, dilation), resample=resample)
        self.kernel_size = (kernel_size, kernel_size)
        conv = conv if resample == "none" else partial(conv, resample=resample)
        parts = Parts(conv=conv, norm=norm, activation=activation or nn.Identity)
        intrinsic, activate = math.ceil(out_channels / ratio), activation is not None
        self.primary = parts.unit(
            in_channels, intrinsic, kernel_size, stride=stride, padding=padding, dilation=dilation, bias=bias, activate=activate
        )
        self.cheap = None
        if ratio > 1:
            cheap = replace(parts, conv=nn.Conv2d)
            ghosts = intrinsic * (ratio - 1)
            self.cheap = cheap.unit(intrinsic, ghosts, cheap_kernel_size, groups=intrinsic, bias=bias, activate=activate)

    def reset_kernels(self, init: Init) -> None:
        """Fill the kernels of both parts by ``init``, each as an ordinary convolution."""
        for part in (self.primary, self.cheap):
            if part is not None:
                initialise_(part.get_submodule("conv"), init)

    def zero_biases(self) -> None:
        """Set the biases of both parts to 0."""
        for part in (self.primary, self.cheap):
            if part is not None:
                zero_bias_(part.get_submodule("conv"))

    def _units(self, axis: Axis) -> Iterator[tuple[nn.Module, int]]:
        """Yield the layers with an axis of the channels, and how many of their channels belong to one map of W."""
        yield self.primary.get_submodule("conv"), 1
        if axis == "outputs":
            yield from ((layer, 1) for name, layer in self.primary.named_children() if name == "norm")
            if self.cheap is not None:
                yield from ((layer, self.ratio - 1) for name, layer in self.cheap.named_children() if name != "activation")

    def sizes(self) -> Mapping[Axis, int]:
        """See ``Sliceable``."""
        return {"inputs": sizes(self.primary.get_submodule("conv"))["inputs"], "outputs": self.out_channels}

    def slices(self, axis: Axis) -> Iterator[Slice]:
        """See ``Sliceable``; a ghost's entries belong to its map of W, with which it is removed."""
        intrinsic = math.ceil(self.out_channels / self.ratio)
        for layer, times in self._units(axis):
            for part in slices(layer, axis):
                yield part if axis == "inputs" else replace(part, owners=repeated(intrinsic, times))

    def resized(self, axis: Axis, count: int) -> None:
        """See ``Sliceable``."""
        intrinsic = math.ceil(count / self.ratio)
        for layer, times in self._units(axis):
            resized(layer, axis, count if axis == "inputs" else intrinsic * times)
        if axis == "outputs":
            self.out_channels = count
            if self.cheap is not None:
                resized(self.cheap.get_submodule("conv"), "inputs", intrinsic)

    def ties(self) -> Iterable[Tie]:
        """See ``Sliceable``."""
        intrinsic = math.ceil(self.out_channels / self.ratio)
        for channel in range(intrinsic):
            ghosts = (intrinsic + channel * (self.ratio - 1) + index for index in range(self.ratio - 1))
            yield (("outputs", channel), *(("outputs", ghost) for ghost in ghosts if ghost < self.out_channels))

    def stand_in(self) -> nn.Module:
        """See ``Sliceable``."""
        for layer, _ in self._units("outputs"):
            if stand_in(layer) is not None and (
                isinstance(layer, nn.GroupNorm) or (layer is self.primary.get_submodule("conv") and any(ties(layer)))
            ):
                raise UnsliceableError("GhostModule can be cut only with norms and convolutions that treat every channel by itself")
        return self._stand_in(self.sizes()["inputs"], self.out_channels, self.kernel_size)

    def forward(self, x: Float[Tensor, "b i h w"]) -> Float[Tensor, "b n h2 w2"]:
        intrinsic: Tensor = self.primary(x)
        if self.cheap is None:
            return intrinsic
        return torch.cat([intrinsic, self.cheap(intrinsic)], 1)[:, : self.out_channels]


class GhostBottleneck(nn.Module):
    r"""Ghost bottleneck: expand by a ghost module, halve if strided, attend, project by a linear ghost module.

    .. math:: y = G_2\big(\text{attention}(D(G_1(x)))\big) + S(x)

    D is a depthwise k×k convolution with norm, present for stride 2; S is the identity, or depthwise k×k and 1×1 convolutions
    with norms where the shape changes. No activation follows the sum. Input [B, I, H, W], result [B, O, H/stride, W/stride].

    Args:
        in_channels: I.
        mid_channels: between the ghost modules.
        out_channels: O.
        kernel_size: of D and S.
        stride: of D and S.
        attention: ``attention(mid_channels)``; None: none.
        ratio: of the ghost modules.
        cheap_kernel_size: of the ghost modules.
        parts: convolution (of the primary maps and S's 1×1), norm and activation.

    """

    def __init__(
        self,
        in_channels: int,
        mid_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        *,
        attention: AttentionConstructor | None = None,
        ratio: int = 2,
        cheap_kernel_size: int = 3,
        parts: Parts = STANDARD,
    ) -> None:
        super().__init__()
        depthwise = replace(parts, conv=nn.Conv2d)
        ghost = partial(
            GhostModule,
            bias=parts.norm is None,
            ratio=ratio,
            cheap_kernel_size=cheap_kernel_size,
            norm=parts.norm,
            conv=parts.conv,
        )
        steps: OrderedDict[str, nn.Module] = OrderedDict(ghost1=ghost(in_channels, mid_channels, activation=parts.activation))
        if stride > 1:
            steps["depthwise"] = depthwise.unit(mid_channels, mid_channels, kernel_size, stride=stride, groups=mid_channels, activate=False)
        if attention is not None:
            steps["attention"] = attention(mid_channels)
        steps["ghost2"] = ghost(mid_channels, out_channels)
        self.branch = nn.Sequential(steps)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                depthwise.unit(in_channels, in_channels, kernel_size, stride=stride, groups=in_channels, activate=False),
                parts.unit(in_channels, out_channels, 1, activate=False),
            )

    def forward(self, x: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o h2 w2"]:
        y: Tensor = self.branch(x) + self.shortcut(x)
        return y
