"""Residual attention: a trunk of residual units, multiplied by a soft mask from an hourglass branch.

Wang, Jiang, Qian, Yang, Li, Zhang, Wang, Tang, "Residual Attention Network for Image Classification", CVPR 2017 (arXiv
1704.06904), section 3; architecture from the deploy files of fwang91/residual-attention-network. Common re-implementations add the
pooled map twice on the skips and the trunk to the mask; the deploy files do not.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gconv_gan.config.hints import check_choice
from gconv_gan.layers.blocks.block_parts import STANDARD, Parts
from gconv_gan.layers.blocks.residual import BlockConstructor, preact_bottleneck

Mask = Literal["mixed", "channel", "spatial"]
Learning = Literal["residual", "naive"]
EPS = 1e-5


class MaskActivation(nn.Module):
    r"""The three masks of section 3.2, over channels c and positions i.

    .. math::
        \text{mixed: } \sigma(x_{i,c}), \qquad \text{channel: } \frac{x_{i,c}}{\lVert x_i \rVert_2}, \qquad
        \text{spatial: } \sigma\Big(\frac{x_{i,c} - \mu_c}{\sigma_c}\Big)

    with the norm over the channels at one position, and mean and deviation over the positions of one channel. Input and result
    [B, C, H, W]; constant maps and zero vectors give finite values.

    Raises:
        ValueError: for another kind.

    """

    def __init__(self, kind: Mask = "mixed") -> None:
        super().__init__()
        check_choice("mask", kind, Mask)
        self.kind = kind

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        match self.kind:
            case "mixed":
                return x.sigmoid()
            case "channel":
                return x * (x.square().sum(1, keepdim=True) + EPS**2).rsqrt()
            case "spatial":
                variance, mean = torch.var_mean(x, (2, 3), correction=0, keepdim=True)
                return ((x - mean) * (variance + EPS).rsqrt()).sigmoid()

    def extra_repr(self) -> str:
        return self.kind


class SoftMask(nn.Module):
    r"""The hourglass branch: down by max pooling, up by bilinear interpolation, one unit on every skip connection.

    .. math::
        d_1 &= U^r(\text{pool}(x)), \qquad d_i = U^r(\text{pool}(d_{i-1})), \qquad d_D = U^{b}(\text{pool}(d_{D-1})) \\
        u_D &= d_D, \qquad u_i = U^r\big(\text{up}(u_{i+1}) + U(d_i)\big), \quad i = D-1 \dots 1 \\
        M &= f\big(C_2\, \alpha(C_1\, \alpha(\text{up}(u_1)))\big)

    Pooling is 3×3/2, interpolation aligns corners and targets the stored sizes, C are 1×1 convolutions without bias, alpha norm
    and activation, f a :class:`MaskActivation`. Input and result [B, C, H, W].

    Args:
        channels: C.
        depth: D, the number of poolings.
        units: r.
        bottom_units: b.
        mask: "mixed", "channel" or "spatial".
        block: ``block(in_channels, out_channels, *, stride, parts)`` returns U.
        leading_preactivation: whether an alpha precedes C_1, as needed after pre-activation units.
        parts: convolution, norm, activation, order.

    """

    def __init__(
        self,
        channels: int,
        *,
        depth: int,
        units: int = 1,
        bottom_units: int = 2,
        mask: Mask = "mixed",
        block: BlockConstructor = preact_bottleneck,
        leading_preactivation: bool = True,
        parts: Parts = STANDARD,
    ) -> None:
        super().__init__()
        chain = partial(_units, partial(block, channels, channels, stride=1, parts=parts))
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.down = nn.ModuleList(chain(units) for _ in range(depth - 1))
        self.bottom = chain(bottom_units)
        self.skips = nn.ModuleList(chain(1) for _ in range(depth - 1))
        self.up = nn.ModuleList(chain(units) for _ in range(depth - 1))
        self.tail = nn.Sequential(
            parts.preactivation(channels) if leading_preactivation else nn.Identity(),
            parts.convolution(channels, channels, 1),
            parts.preactivation(channels),
            parts.convolution(channels, channels, 1),
        )
        self.activation = MaskActivation(mask)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        maps = [x]
        for down in self.down:
            maps.append(down(self.pool(maps[-1])))
        h = self.bottom(self.pool(maps[-1]))
        for finer, skip, up in zip(reversed(maps[1:]), reversed(self.skips), reversed(self.up), strict=True):
            h = up(_resize(h, finer) + skip(finer))
        mask: Tensor = self.activation(self.tail(_resize(h, x)))
        return mask


def _units(unit: Callable[[], nn.Module], count: int) -> nn.Sequential:
    return nn.Sequential(*(unit() for _ in range(count)))


def _resize(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=True)


class ResidualAttention(nn.Module):
    r"""Attention module (p, t, r), which replaces a chain of residual units.

    .. math::
        x' = U^p(x), \qquad T = U^t(x'), \qquad M = \text{mask}(x'), \qquad
        y = U^p\big((1 + M) \odot T\big) \;\text{ or, naively, }\; U^p(M \odot T)

    The mask does not depend on T. With p = t = 0 the module is (1 + M(x)) ⊙ x. Input and result [B, C, H, W]; the map
    must be large enough for D poolings.

    Args:
        channels: C.
        depth: D, the poolings of the mask: the paper's maps come down to 7×7.
        pre_units: p.
        trunk_units: t.
        mask_units: r.
        bottom_units: units at the bottom of the mask; None: 2r.
        mask: "mixed", "channel" or "spatial", see :class:`MaskActivation`.
        learning: "residual" for 1 + M, "naive" for M.
        block: ``block(in_channels, out_channels, *, stride, parts)`` returns U.
        leading_preactivation: see :class:`SoftMask`.
        parts: convolution, norm, activation, attention, order.

    Raises:
        ValueError: for an unknown mask, learning, or a depth below 1.

    """

    def __init__(
        self,
        channels: int,
        *,
        depth: int = 1,
        pre_units: int = 1,
        trunk_units: int = 2,
        mask_units: int = 1,
        bottom_units: int | None = None,
        mask: Mask = "mixed",
        learning: Learning = "residual",
        block: BlockConstructor = preact_bottleneck,
        leading_preactivation: bool = True,
        parts: Parts = STANDARD,
    ) -> None:
        super().__init__()
        check_choice("learning", learning, Learning)
        if depth < 1:
            raise ValueError(f"the mask needs at least one pooling, not depth={depth}")
        chain = partial(_units, partial(block, channels, channels, stride=1, parts=parts))
        self.pre, self.trunk = chain(pre_units), chain(trunk_units)
        self.mask = SoftMask(
            channels,
            depth=depth,
            units=mask_units,
            bottom_units=2 * mask_units if bottom_units is None else bottom_units,
            mask=mask,
            block=block,
            leading_preactivation=leading_preactivation,
            parts=parts,
        )
        self.post = chain(pre_units)
        self.learning = learning

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        x = self.pre(x)
        trunk, mask = self.trunk(x), self.mask(x)
        attended = torch.addcmul(trunk, mask, trunk) if self.learning == "residual" else mask * trunk
        y: Tensor = self.post(attended)
        return y
