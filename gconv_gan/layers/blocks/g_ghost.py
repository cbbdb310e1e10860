"""G-Ghost stages: the later blocks of a stage compute a part of the channels, and one cheap operation the rest.

Han, Wang, Xu, Guo, Xu, Wu, Tian, "GhostNets on Heterogeneous Devices via Cheap Operations", IJCV 2022 (arXiv 2201.03297),
section 4, in the form that its published sizes have (huawei-noah/Efficient-AI-Backbones, ``g_ghost_regnet.py``): the paper's
figure has neither the last full-width block nor the first block's output in the mix.
"""

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gconv_gan.layers.blocks.block_parts import STANDARD, Parts
from gconv_gan.layers.blocks.residual import BlockConstructor, regnet_block, stage


class GGhostStage(nn.Module):
    r"""A stage of n blocks and P channels, of which n−2 blocks compute ``raw_channels`` only.

    .. math::
        x_0 &= \text{base}(x), \qquad e_0 = x_0[:\text{raw}], \qquad e_i = B_i(e_{i-1}), \quad i = 1 \dots n-2 \\
        m &= \mathrm{MLP}\big(\operatorname{mean}_{\text{positions}} [x_0, e_1, \dots, e_{n-2}]\big) \\
        c &= \varphi\big(N(W x_0[\text{raw}:]) + m\big), \qquad y = \text{end}([e_{n-2}, c])

    The MLP is linear, norm, activation, linear, norm, without biases. The reduced blocks have group width g' = ⌊0.75 g⌋, and
    raw is P(1−ratio) rounded down to a multiple of g'. With n ≤ 2 this is a plain stage. Input [B, I, H, W], result
    [B, P, H/stride, W/stride].

    Args:
        in_channels: I.
        out_channels: P.
        depth: n.
        group_width: g.
        stride: of the base block.
        ratio: share of the channels that the cheap operation computes, before rounding.
        block: ``block(in_channels, out_channels, *, stride, group_width, parts)``.
        parts: convolution, norm, activation of the blocks; norm and activation of cheap operation and mix.

    Raises:
        ValueError: for a ratio with no channel in one of the parts; in training, with batch normalisation, for a single
            image (the mix would be normalised over one value per channel).

    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        depth: int,
        *,
        group_width: int,
        stride: int = 2,
        ratio: float = 0.5,
        block: BlockConstructor = regnet_block,
        parts: Parts = STANDARD,
    ) -> None:
        super().__init__()
        self.ghosted = depth > 2
        if not self.ghosted:
            self.blocks = stage(partial(block, group_width=group_width, parts=parts), in_channels, out_channels, depth, stride)
            return
        reduced_group = max(int(0.75 * group_width), 1)
        raw = int(out_channels * (1 - ratio) / reduced_group) * reduced_group
        cheap = out_channels - raw
        if raw < 1 or cheap < 1:
            raise ValueError(
                f"ratio {ratio} splits {out_channels} channels into {raw} and {cheap}, in groups of {reduced_group}: both must be positive"
            )
        self.raw_channels = raw
        self.base = block(in_channels, out_channels, stride=stride, group_width=group_width, parts=parts)
        self.end = block(out_channels, out_channels, stride=1, group_width=group_width, parts=parts)
        self.blocks = nn.Sequential(*(block(raw, raw, stride=1, group_width=reduced_group, parts=parts) for _ in range(depth - 2)))
        pointwise = Parts(norm=parts.norm, activation=parts.activation)
        self.cheap = pointwise.unit(cheap, cheap, 1, activate=False)
        self.mix = nn.Sequential(
            pointwise.unit(out_channels + raw * (depth - 2), cheap, 1), pointwise.unit(cheap, cheap, 1, activate=False)
        )
        self.activation = parts.activation()

    def forward(self, x: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o h2 w2"]:
        if not self.ghosted:
            plain: Tensor = self.blocks(x)
            return plain
        base = self.base(x)
        e = base[:, : self.raw_channels]
        means = [base.mean((2, 3), keepdim=True)]
        for block in self.blocks:
            e = block(e)
            means.append(e.mean((2, 3), keepdim=True))
        c = self.activation(self.cheap(base[:, self.raw_channels :]) + self.mix(torch.cat(means, 1)))
        y: Tensor = self.end(torch.cat([e, c], 1))
        return y
