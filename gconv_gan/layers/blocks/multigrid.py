"""Multigrid in channels: a V-cycle over the channel dimension, with few parameters and full coupling of the channels.

Eliasof, Ephrath, Ruthotto, Treister, "MGIC: Multigrid-in-Channels Neural Network Architectures", SIAM J. Sci. Comput. 45 (2023)
S307-S328 (arXiv 2011.09128); facts from BGUCompSci/MultigridInChannelsCNNs, whose averaging initialisation this keeps (there a
later loop overwrites it).
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gconv_gan.layers.blocks.block_parts import STANDARD, ActivationConstructor, AttentionConstructor, Parts
from gconv_gan.layers.blocks.inverted_bottleneck import inverted_bottleneck
from gconv_gan.layers.blocks.residual import ResidualBlock, basic_block, bottleneck

SmootherConstructor = Callable[[int, int], nn.Module]
"""``smoother(level, groups)``: a residual block that keeps the shape of its level's map."""


class ChannelAverage(nn.Conv2d):
    """A grouped 1×1 convolution without bias that starts as the mean over the channels of its group. Shapes as ``Conv2d``'s."""

    def __init__(self, in_channels: int, out_channels: int, groups: int) -> None:
        super().__init__(in_channels, out_channels, 1, groups=groups, bias=False)

    def reset_parameters(self) -> None:
        """Set every weight to groups / in_channels."""
        nn.init.constant_(self.weight, self.groups / self.in_channels)


def channel_levels(channels: int, dense_below: int) -> tuple[int, ...]:
    """Return c, c/2, c/4, …, down to the first width below ``dense_below``; there are at least two levels.

    Raises:
        ValueError: if a width cannot be halved.

    """
    levels = [channels]
    while len(levels) == 1 or levels[-1] >= dense_below:
        if levels[-1] % 2:
            raise ValueError(
                f"{channels} channels cannot be halved down to fewer than {dense_below}: level {len(levels) - 1} has {levels[-1]}"
            )
        levels.append(levels[-1] // 2)
    return tuple(levels)


class ChannelVCycle(nn.Module):
    r"""The V-cycle over levels of :math:`c_l = c/2^l` channels, l = 0 … L.

    .. math::
        x_0 &= x, \qquad x_{l+1} = R_l x_l, \qquad \hat x_L = S_L(x_L) \\
        \hat x_l &= S_l\big(x_l + N(P_l(\hat x_{l+1} - x_{l+1}))\big), \quad l = L-1 \dots 0, \qquad y = \hat x_0

    R and P are 1×1 convolutions of g_l groups that start as averages, N is a norm, S_l the level's residual block, of g_l groups
    (of one on the coarsest level). Input and result [B, C, H, W].

    Args:
        levels: c_0 … c_L.
        groups: g_0 … g_{L−1}.
        smoother: ``smoother(level, groups)`` returns S_l.
        expansion: the maps of level l have this many times c_l channels.
        normalise_restriction: a norm after every R too.
        parts: the norm.

    """

    def __init__(
        self,
        levels: tuple[int, ...],
        groups: tuple[int, ...],
        smoother: SmootherConstructor,
        *,
        expansion: int = 1,
        normalise_restriction: bool = False,
        parts: Parts = STANDARD,
    ) -> None:
        super().__init__()
        widths = [expansion * channels for channels in levels]
        self.smoothers = nn.ModuleList(smoother(level, g) for level, g in enumerate((*groups, 1)))
        self.restrictions, self.prolongations = nn.ModuleList(), nn.ModuleList()
        for fine, coarse, g in zip(widths[:-1], widths[1:], groups, strict=True):
            norm = parts.normalisation(coarse) if normalise_restriction else nn.Identity()
            self.restrictions.append(nn.Sequential(ChannelAverage(fine, coarse, g), norm))
            self.prolongations.append(nn.Sequential(ChannelAverage(coarse, fine, g), parts.normalisation(fine)))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        maps = [x]
        for restriction in self.restrictions:
            maps.append(restriction(maps[-1]))
        smooth: Tensor = self.smoothers[-1](maps[-1])
        for level in reversed(range(len(self.restrictions))):
            corrected = maps[level] + self.prolongations[level](smooth - maps[level + 1])
            smooth = self.smoothers[level](corrected)
        return smooth


class MultigridChannels2d(nn.Module):
    r"""A residual block, or replacement of a wide convolution, whose parameters grow linearly with its channels.

    A :class:`ChannelVCycle` of c = O channels whose blocks are

    .. math:: S_l(z) = \varphi\big(z + N(K_2\, \varphi(N(K_1 z)))\big)

    with k×k convolutions of :math:`g_l = \max(\lfloor c_l/s_g \rfloor, 1)` groups, dense on the coarsest level. Where channels or
    resolution change, :math:`x \leftarrow \varphi(N(K * x))` goes before, K a k×k convolution with the stride and I groups. With
    ``expansion`` e > 1 the maps have e c_l channels and the blocks are bottlenecks of c_l (1×1, k×k, 1×1, all in g_l groups).
    Input [B, I, H, W], result [B, e·O, H/stride, W/stride].

    Args:
        in_channels: I.
        out_channels: O.
        kernel_size: k, odd.
        stride: of the entry convolution.
        padding: (k−1)/2, the only one there is; None: that.
        dilation: 1, as above.
        groups: 1, as above: the groups follow from ``group_size``.
        bias: add a learned constant to each channel of the result.
        group_size: s_g, channels per group.
        dense_below: F; the first level narrower than this is the coarsest, and dense.
        expansion: e.
        dense_groups: groups of the coarsest bottleneck's k×k convolution (as in ResNeXt, 32); for ``expansion`` > 1.
        parts: convolution, norm, activation, attention, order of the blocks.

    Raises:
        ValueError: for a kernel, padding, dilation or groups other than above; if the levels cannot be halved or do not divide into
            their groups; if the result's channels are not a multiple of I.

    """

    bias: nn.Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        padding: int | None = None,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = False,
        *,
        group_size: int = 32,
        dense_below: int = 32,
        expansion: int = 1,
        dense_groups: int = 1,
        parts: Parts = STANDARD,
    ) -> None:
        super().__init__()
        if kernel_size % 2 == 0 or padding not in (None, kernel_size // 2) or (dilation, groups) != (1, 1):
            raise ValueError(
                f"a multigrid block keeps the size of its maps and chooses its groups: kernel_size must be odd, padding half of it, "
                f"dilation and groups 1, not {kernel_size}, {padding}, {dilation}, {groups}"
            )
        levels = channel_levels(out_channels, dense_below)
        level_groups = tuple(max(channels // group_size, 1) for channels in levels[:-1])
        _check_groups(levels, level_groups, group_size)
        width = expansion * out_channels
        self.entry: nn.Module = nn.Identity()
        if stride != 1 or in_channels != width:
            if width % in_channels:
                raise ValueError(f"the entry convolution has a group per input channel: {width} is not a multiple of {in_channels}")
            self.entry = parts.unit(in_channels, width, kernel_size, stride=stride, groups=in_channels)

        def smoother(level: int, g: int) -> ResidualBlock:
            channels = expansion * levels[level]
            if expansion == 1:
                return basic_block(channels, channels, kernel_size=kernel_size, groups=g, parts=parts)
            return bottleneck(
                channels,
                channels,
                kernel_size=kernel_size,
                width_ratio=1 / expansion,
                groups=g if level < len(level_groups) else min(dense_groups, levels[level]),
                pointwise_groups=g,
                parts=parts,
            )

        self.cycle = ChannelVCycle(levels, level_groups, smoother, expansion=expansion, parts=parts)
        self.register_parameter("bias", nn.Parameter(torch.zeros(width)) if bias else None)

    def forward(self, x: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o h2 w2"]:
        y: Tensor = self.cycle(self.entry(x))
        return y if self.bias is None else y + self.bias[:, None, None]


class MultigridInvertedBottleneck(nn.Module):
    r"""The V-cycle whose blocks are inverted bottlenecks (MobileNetV3's), with a norm after every restriction.

    Level l has :math:`c_l = c/2^l` channels and depthwise convolutions of :math:`\lfloor \text{mid}/2^l \rfloor`; its 1×1 convolutions
    have :math:`\lfloor c_l/s_g \rfloor` groups or the next fewer that divide both. Where channels or resolution change, a 1×1
    convolution with the stride goes before, without norm. Input [B, I, H, W], result [B, O, H/stride, W/stride].

    Args:
        in_channels: I.
        mid_channels: of the finest depthwise convolution.
        out_channels: O = c.
        kernel_size: of the depthwise convolutions.
        stride: of the entry.
        attention: ``attention(channels)`` after each depthwise convolution; None: none.
        activation: within the inverted bottlenecks; None: the parts'.
        group_size: s_g.
        dense_below: F; the first level narrower than this is the coarsest, and dense.
        parts: convolution, norm, and the activation after each sum.

    Raises:
        ValueError: if the levels cannot be halved or do not divide into their groups.

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
        activation: ActivationConstructor | None = None,
        group_size: int = 32,
        dense_below: int = 32,
        parts: Parts = STANDARD,
    ) -> None:
        super().__init__()
        levels = channel_levels(out_channels, dense_below)
        mids = [mid_channels >> level for level in range(len(levels))]
        groups = tuple(_common_groups(c, mid, group_size) for c, mid in zip(levels[:-1], mids[:-1], strict=True))
        _check_groups(levels, groups, group_size)
        self.entry: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.entry = parts.convolution(in_channels, out_channels, 1, stride=stride, bias=False)
        inner = parts if activation is None else replace(parts, activation=activation)

        def smoother(level: int, g: int) -> ResidualBlock:
            c = levels[level]
            branch = inverted_bottleneck(c, mids[level], c, kernel_size, groups=g, attention=attention, parts=inner)
            return ResidualBlock(branch, nn.Identity(), parts.activation())

        self.cycle = ChannelVCycle(levels, groups, smoother, normalise_restriction=True, parts=parts)

    def forward(self, x: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o h2 w2"]:
        y: Tensor = self.cycle(self.entry(x))
        return y


def _common_groups(channels: int, mid_channels: int, group_size: int) -> int:
    groups = max(channels // group_size, 1)
    while channels % groups or mid_channels % groups:
        groups -= 1
    return groups


def _check_groups(levels: tuple[int, ...], groups: tuple[int, ...], group_size: int) -> None:
    for fine, coarse, g in zip(levels[:-1], levels[1:], groups, strict=True):
        if fine % g or coarse % g:
            raise ValueError(f"{fine} and {coarse} channels do not divide into the {g} groups that group_size={group_size} gives")
