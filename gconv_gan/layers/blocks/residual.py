"""Residual blocks: the post-activation and pre-activation forms, with two or three convolutions in the branch.

He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016 (arXiv 1512.03385), section 3, and "Identity
Mappings in Deep Residual Networks", ECCV 2016 (arXiv 1603.05027), figure 4(e). Zagoruyko and Komodakis, "Wide Residual Networks",
BMVC 2016 (arXiv 1605.07146): the dropout and the projection of the activated input (szagoruyko/wide-residual-networks).
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gconv_gan.layers.blocks.block_parts import STANDARD, Parts
from gconv_gan.layers.dropout import Dropout
from gconv_gan.layers.slicing import Axis, Slice, Sliceable, Tie, ordinary_conv

BlockConstructor = Callable[..., nn.Module]
"""``block(in_channels, out_channels, *, stride, parts)``."""
ShortcutConstructor = Callable[[int, int, int, Parts], nn.Module]
"""``shortcut(in_channels, out_channels, stride, parts)``."""


class ResidualBlock(nn.Module):
    r"""Post-activation residual block.

    .. math:: y = \varphi\big(B(x) + S(x)\big)

    Input [B, I, H, W]; branch B and shortcut S give results of the same shape, [B, O, H', W'].
    """

    def __init__(self, branch: nn.Module, shortcut: nn.Module, activation: nn.Module) -> None:
        super().__init__()
        self.branch, self.shortcut, self.activation = branch, shortcut, activation

    def forward(self, x: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o h2 w2"]:
        y: Tensor = self.activation(self.branch(x) + self.shortcut(x))
        return y


class PreactBlock(nn.Module):
    r"""Pre-activation residual block; a projection acts on the activated input, the identity on the raw one.

    .. math:: a = \alpha(x), \qquad y = B(a) + P(a) \;\text{ or }\; B(a) + x

    Input [B, I, H, W], result [B, O, H', W'].

    Args:
        preactivation: alpha, norm and activation.
        branch: B, which starts with a convolution.
        projection: P; None: the identity, for branches that keep the shape.

    """

    def __init__(self, preactivation: nn.Module, branch: nn.Module, projection: nn.Module | None) -> None:
        super().__init__()
        self.preactivation, self.branch, self.projection = preactivation, branch, projection

    def forward(self, x: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o h2 w2"]:
        activated = self.preactivation(x)
        y: Tensor = self.branch(activated) + (x if self.projection is None else self.projection(activated))
        return y


class ZeroPadShortcut(Sliceable, nn.Module):
    """The parameter-free shortcut (option A): every ``stride``-th pixel, and zeros for the added channels.

    Input [B, I, H, W], result [B, O, ceil(H/stride), ceil(W/stride)].

    Raises:
        ValueError: if there are fewer output than input channels.

    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        if out_channels < in_channels:
            raise ValueError(f"a zero-padding shortcut cannot go from {in_channels} to {out_channels} channels")
        self.in_channels, self.out_channels, self.stride = in_channels, out_channels, stride

    def sizes(self) -> Mapping[Axis, int]:
        """See ``Sliceable``."""
        return {"inputs": self.in_channels, "outputs": self.out_channels}

    def slices(self, axis: Axis) -> Iterator[Slice]:
        """See ``Sliceable``."""
        return iter(())

    def resized(self, axis: Axis, count: int) -> None:
        """See ``Sliceable``."""
        setattr(self, "in_channels" if axis == "inputs" else "out_channels", count)

    def ties(self) -> Iterable[Tie]:
        """See ``Sliceable``."""
        return ((("inputs", channel), ("outputs", channel)) for channel in range(self.in_channels))

    def stand_in(self) -> nn.Module:
        """See ``Sliceable``."""
        return ordinary_conv(self.in_channels, self.out_channels, (1, 1), stride=(self.stride, self.stride))

    def forward(self, x: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o h2 w2"]:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.out_channels - self.in_channels))


def projection_shortcut(in_channels: int, out_channels: int, stride: int, parts: Parts) -> nn.Module:
    """Return the identity, or a 1×1 convolution with its norm if the shape changes (option B)."""
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return parts.unit(in_channels, out_channels, 1, stride=stride, activate=False)


def zero_pad_shortcut(in_channels: int, out_channels: int, stride: int, parts: Parts) -> nn.Module:
    """Return the identity, or a ``ZeroPadShortcut`` if the shape changes (option A)."""
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return ZeroPadShortcut(in_channels, out_channels, stride)


def basic_block(
    in_channels: int,
    out_channels: int,
    *,
    stride: int = 1,
    parts: Parts = STANDARD,
    kernel_size: int = 3,
    groups: int = 1,
    shortcut: ShortcutConstructor = projection_shortcut,
) -> ResidualBlock:
    """Return a post-activation block with two k×k convolutions, the first of which has the stride."""
    steps: OrderedDict[str, nn.Module] = OrderedDict(
        unit1=parts.unit(in_channels, out_channels, kernel_size, stride=stride, groups=groups),
        unit2=parts.unit(out_channels, out_channels, kernel_size, groups=groups, activate=False),
        **parts.attentions(out_channels),
    )
    return ResidualBlock(nn.Sequential(steps), shortcut(in_channels, out_channels, stride, parts), parts.activation())


def bottleneck(
    in_channels: int,
    out_channels: int,
    *,
    stride: int = 1,
    parts: Parts = STANDARD,
    kernel_size: int = 3,
    width_ratio: float = 0.25,
    groups: int = 1,
    pointwise_groups: int = 1,
    middle: Callable[..., nn.Module] | None = None,
    shortcut: ShortcutConstructor = projection_shortcut,
) -> ResidualBlock:
    """Return a post-activation block 1×1, k×k (with the stride), 1×1.

    Args:
        in_channels: I.
        out_channels: O.
        stride: of the middle convolution and the shortcut.
        parts: convolution, norm, activation, attention, order.
        kernel_size: k.
        width_ratio: channels between the convolutions, divided by O: 1/4 ResNet, 1/2 WRN-50-2 and ResNeXt 32×4d, 1 RegNet.
        groups: of the middle convolution.
        pointwise_groups: of the two 1×1 convolutions.
        middle: ``middle(channels, channels, *, stride, groups, parts)`` instead of the k×k unit.
        shortcut: ``projection_shortcut`` or ``zero_pad_shortcut``.

    """
    width = int(out_channels * width_ratio)
    if middle is None:
        unit2: nn.Module = parts.unit(width, width, kernel_size, stride=stride, groups=groups)
    else:
        unit2 = middle(width, width, stride=stride, groups=groups, parts=parts)
    steps: OrderedDict[str, nn.Module] = OrderedDict(
        unit1=parts.unit(in_channels, width, 1, groups=pointwise_groups),
        unit2=unit2,
        unit3=parts.unit(width, out_channels, 1, groups=pointwise_groups, activate=False),
        **parts.attentions(out_channels),
    )
    return ResidualBlock(nn.Sequential(steps), shortcut(in_channels, out_channels, stride, parts), parts.activation())


def regnet_block(in_channels: int, out_channels: int, *, group_width: int, stride: int = 1, parts: Parts = STANDARD) -> ResidualBlock:
    """Return RegNet-X's bottleneck: of constant width, with groups of ``group_width`` channels in the middle."""
    groups = out_channels // min(out_channels, group_width)
    return bottleneck(in_channels, out_channels, stride=stride, parts=parts, width_ratio=1.0, groups=groups)


def preact_basic_block(
    in_channels: int,
    out_channels: int,
    *,
    stride: int = 1,
    parts: Parts = STANDARD,
    dropout: float = 0.0,
    projection_norm: bool = False,
) -> PreactBlock:
    """Return a pre-activation block with two 3×3 convolutions and dropout before the second: B(3,3) of the WRN paper.

    With ``projection_norm`` a norm stands before the convolution of the shortcut too (Li and Arora, arXiv 1910.07454).
    """
    steps: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=parts.convolution(in_channels, out_channels, 3, stride=stride),
        preactivation2=parts.preactivation(out_channels),
        dropout=Dropout(dropout),
        conv2=parts.convolution(out_channels, out_channels, 3),
        **parts.attentions(out_channels),
    )
    return _preact_block(in_channels, out_channels, stride, parts, steps, projection_norm=projection_norm)


def preact_bottleneck(
    in_channels: int, out_channels: int, *, stride: int = 1, parts: Parts = STANDARD, width_ratio: float = 0.25
) -> PreactBlock:
    """Return a pre-activation block 1×1, 3×3 (with the stride), 1×1; inside it has ``width_ratio`` times O channels."""
    width = int(out_channels * width_ratio)
    steps: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=parts.convolution(in_channels, width, 1),
        preactivation2=parts.preactivation(width),
        conv2=parts.convolution(width, width, 3, stride=stride),
        preactivation3=parts.preactivation(width),
        conv3=parts.convolution(width, out_channels, 1),
        **parts.attentions(out_channels),
    )
    return _preact_block(in_channels, out_channels, stride, parts, steps)


def _preact_block(
    in_channels: int,
    out_channels: int,
    stride: int,
    parts: Parts,
    steps: "OrderedDict[str, nn.Module]",
    *,
    projection_norm: bool = False,
) -> PreactBlock:
    projection: nn.Module | None = None
    if stride != 1 or in_channels != out_channels:
        projection = parts.convolution(in_channels, out_channels, 1, stride=stride)
        if projection_norm:
            projection = nn.Sequential(OrderedDict(norm=parts.normalisation(in_channels), conv=projection))
    return PreactBlock(parts.preactivation(in_channels), nn.Sequential(steps), projection)


def stage(block: BlockConstructor, in_channels: int, out_channels: int, depth: int, stride: int) -> nn.Sequential:
    """Return ``depth`` blocks, of which the first changes channels and resolution."""
    first = block(in_channels, out_channels, stride=stride)
    return nn.Sequential(first, *(block(out_channels, out_channels, stride=1) for _ in range(depth - 1)))
