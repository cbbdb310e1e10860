"""Selective kernels: branches with different receptive fields, mixed per channel by gates of the pooled map.

Li, Wang, Hu, Yang, "Selective Kernel Networks", CVPR 2019 (arXiv 1903.06586), section 3.1; facts from the prototxt files of
implus/SKNet. timm's ``SelectiveKernel`` (``skresnext50_32x4d``) computes the same.
"""

from collections.abc import Iterable, Iterator, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gconv_gan.layers.blocks.block_parts import STANDARD, Parts
from gconv_gan.layers.slicing import Axis, Slice, Sliceable, Tie, grouped_ties, ordinary_conv, resized, slices, stand_in, ties


class SelectiveKernel2d(Sliceable, nn.Module):
    r"""SK[M, G, r]: a replacement of a ``Conv2d`` with norm and activation.

    .. math::
        U_m &= \varphi(N_m(W_m * X)), \quad m = 1 \dots M, \quad \text{dilation } m \\
        z &= \varphi\big(N(W\, \bar U)\big), \qquad \bar U = \operatorname{mean}_{\text{positions}} \textstyle\sum_m U_m \\
        V_c &= \textstyle\sum_m a_{m,c}\, U_{m,c}, \qquad a_{\cdot,c} = \operatorname{softmax}_m\big((A_m z)_c\big)

    z has d = max(O/r, L) components. A 3×3 kernel of dilation 2 replaces the paper's 5×5. No operation follows V. Input
    [B, I, H, W], result [B, O, H', W'] as Conv2d's with the first branch's padding; the others are padded to the same size.

    Args:
        in_channels: I.
        out_channels: O.
        kernel_size: odd.
        stride: of every branch.
        padding: of the first branch.
        dilation: of the first branch; branch m has m times as much.
        groups: G.
        bias: of the branches' convolutions; None: True without norms.
        branches: M.
        reduction: r.
        min_reduced_channels: L.
        parts: convolution, norm and activation.

    Raises:
        ValueError: for an even kernel or channels that do not divide by the groups; in training, with batch normalisation,
            for a single image (the norm of z would see one value per channel).

    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        padding: int = 1,
        dilation: int = 1,
        groups: int = 32,
        bias: bool | None = None,
        *,
        branches: int = 2,
        reduction: int = 16,
        min_reduced_channels: int = 32,
        parts: Parts = STANDARD,
    ) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"the branches of a selective kernel need an odd kernel_size to keep one size, not {kernel_size}")
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"{in_channels} and {out_channels} channels do not divide into {groups} groups")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride, self.padding, self.dilation = kernel_size, stride, padding, dilation
        reach = dilation * (kernel_size - 1) // 2
        self.branches = nn.ModuleList(
            parts.unit(
                in_channels,
                out_channels,
                kernel_size,
                stride=stride,
                padding=padding + index * reach,
                dilation=dilation * (index + 1),
                groups=groups,
                bias=bias,
            )
            for index in range(branches)
        )
        reduced = max(out_channels // reduction, min_reduced_channels)
        self.reduce = nn.Conv2d(out_channels, reduced, 1, bias=parts.norm is None)
        self.norm, self.activation = parts.normalisation(reduced), parts.activation()
        self.select = nn.Conv2d(reduced, branches * out_channels, 1, bias=False)
        for conv in (self.reduce, self.select):
            nn.init.normal_(conv.weight, std=0.01)

    def selection(self, pooled: Float[Tensor, "b o 1 1"]) -> Float[Tensor, "b m o 1 1"]:
        """Return a: the weight of each branch, per image and channel."""
        logits = self.select(self.activation(self.norm(self.reduce(pooled))))
        weights: Tensor = logits.unflatten(1, (len(self.branches), -1)).softmax(1)
        return weights

    def _parts(self) -> Iterator[nn.Module]:
        return (part for branch in self.branches for name, part in branch.named_children() if name != "activation")

    def sizes(self) -> Mapping[Axis, int]:
        """See ``Sliceable``."""
        return {"inputs": self.in_channels, "outputs": self.out_channels}

    def slices(self, axis: Axis) -> Iterator[Slice]:
        """See ``Sliceable``."""
        for part in self._parts():
            yield from slices(part, axis)
        if axis == "outputs":
            yield Slice(self.reduce, "weight", 1, reads=True)
            yield Slice(self.select, "weight", 0, [*range(self.out_channels)] * len(self.branches))

    def resized(self, axis: Axis, count: int) -> None:
        """See ``Sliceable``."""
        for part in self._parts():
            resized(part, axis, count)
        if axis == "inputs":
            self.in_channels = count
            return
        self.groups = self.groups * count // self.out_channels
        self.out_channels = self.reduce.in_channels = count
        self.select.out_channels = count * len(self.branches)

    def ties(self) -> Iterable[Tie]:
        """See ``Sliceable``."""
        yield from grouped_ties(self.groups, self.in_channels, self.out_channels)
        for part in self._parts():
            yield from ties(part)

    def stand_in(self) -> nn.Module:
        """See ``Sliceable``."""
        for part in self._parts():
            stand_in(part)  # raises for a part whose channels cannot be removed
        size, stride, dilation = ((one, one) for one in (self.kernel_size, self.stride, self.dilation))
        return ordinary_conv(self.in_channels, self.out_channels, size, stride=stride, padding=self.padding, dilation=dilation)

    def forward(self, x: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o h2 w2"]:
        maps = [branch(x) for branch in self.branches]
        # the mean of the sum, without computing the sum at full size
        pooled = torch.stack([u.mean((2, 3), keepdim=True) for u in maps]).sum(0)
        weights = self.selection(pooled).unbind(1)
        mixed: Tensor = weights[0] * maps[0]
        for weight, u in zip(weights[1:], maps[1:], strict=True):
            mixed = torch.addcmul(mixed, weight, u)
        return mixed
