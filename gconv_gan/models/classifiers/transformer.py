"""A small Transformer encoder with norms after the residual sums, the original order, which is hard to train without warm-up.

Vaswani et al., "Attention Is All You Need", arXiv 1706.03762, sections 3.1 and 3.2; patches of images: Dosovitskiy et al., arXiv
2010.11929.
"""

import math
from collections.abc import Iterator, Mapping

import torch
from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn

from gconv_gan.config.ranges import Beta
from gconv_gan.layers.dropout import Dropout
from gconv_gan.layers.initialisers import glorot_, zero_bias_
from gconv_gan.layers.slicing import Axis, Slice, Sliceable, stand_in


class SelfAttention(Sliceable, nn.Module):
    r"""Multi-head self-attention with an explicit softmax, which can be differentiated twice (a fused one cannot).

    .. math:: y = W_o\, [\operatorname{softmax}(Q_h K_h^\top / \sqrt{c})\, V_h]_h, \qquad Q, K, V = W_{qkv}\, x

    Input and result [B, n, d]; each of h heads has c = d / h channels. Pruning leaves it whole, as the norms around it are.

    Args:
        width: d.
        heads: h.

    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.inputs = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        batch, tokens, width = x.shape
        query, key, value = self.inputs(x).view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        weights = torch.softmax(query @ key.transpose(-2, -1) / math.sqrt(width // self.heads), dim=-1)
        y: Tensor = self.output((weights @ value).transpose(1, 2).reshape(batch, tokens, width))
        return y

    def sizes(self) -> Mapping[Axis, int]:
        """Return the channels of a token."""
        return {"inputs": self.output.in_features, "outputs": self.output.out_features}

    def slices(self, axis: Axis) -> Iterator[Slice]:
        """Yield nothing."""
        yield from ()

    def floor(self, axis: Axis) -> int:
        """Return the number of all channels."""
        return self.sizes()[axis]

    def stand_in(self) -> nn.Module:
        """Return one linear map."""
        return nn.Linear(self.output.in_features, self.output.out_features)

    def macs(self, x: Tensor, y: Tensor) -> int:
        """Return the multiply-adds per image of the two products of attention; those of the linear maps are counted there."""
        return 2 * x.shape[1] ** 2 * x.shape[2]


class EncoderBlock(nn.Module):
    r"""Attention and a hidden layer, each with a residual sum and a LayerNorm after it.

    .. math:: x \leftarrow \mathrm{LN}(x + \mathrm{drop}(\mathrm{MHA}(x))), \qquad
        x \leftarrow \mathrm{LN}(x + \mathrm{drop}(W_2\, \mathrm{GELU}(W_1 x)))

    Input and result [B, n, d].

    Args:
        width: d.
        heads: number of heads.
        hidden: width of the hidden layer.
        dropout: of what is added.

    """

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention, self.norm1 = SelfAttention(width, heads), nn.LayerNorm(width)
        self.hidden = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.norm2 = nn.LayerNorm(width)
        self.dropout1, self.dropout2 = Dropout(dropout), Dropout(dropout)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        x = self.norm1(x + self.dropout1(self.attention(x)))
        y: Tensor = self.norm2(x + self.dropout2(self.hidden(x)))
        return y


class PostNormTransformer(nn.Module):
    r"""A classifier of image patches: patch embedding and learned positions, encoder blocks, mean over patches, linear head.

    Glorot-uniform matrices and zero biases, positions N(0, 0.02²). Shapes: input [B, 3, s, s] in [-1, 1]; ``features`` [B, width]; output,
    the logits, [B, num_classes].

    Args:
        num_classes: number of logits.
        image_size: s, a multiple of the patch size.
        width: Channels of a token, a multiple of heads.
        depth: Number of encoder blocks.
        heads: Number of heads of the attention.
        hidden: Width of the hidden layer of a block; None: 4·width.
        patch_size: Side of a patch in pixels.
        dropout: Of what a block adds, in training only.

    Raises:
        ValueError: for a size that patches do not fill, or a width that heads do not divide.

    """

    def __init__(
        self,
        *,
        num_classes: int = 10,
        image_size: int = 32,
        width: PositiveInt = 64,
        depth: PositiveInt = 6,
        heads: PositiveInt = 4,
        hidden: PositiveInt | None = None,
        patch_size: PositiveInt = 4,
        dropout: Beta = 0.0,
    ) -> None:
        super().__init__()
        if image_size % patch_size:
            raise ValueError(f"patches of {patch_size} px do not fill images of {image_size} px: take another patch_size or data.size")
        if width % heads:
            raise ValueError(f"width {width} is not divisible by heads {heads}")
        self.image_size, self.num_classes, self.feature_dim = image_size, num_classes, width
        self.embedding = nn.Conv2d(3, width, patch_size, stride=patch_size)
        self.positions = nn.Parameter(0.02 * torch.randn((image_size // patch_size) ** 2, width))
        self.blocks = nn.Sequential(*(EncoderBlock(width, heads, hidden or 4 * width, dropout) for _ in range(depth)))
        self.head = nn.Linear(width, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                glorot_(module)
                zero_bias_(module)

    def features(self, x: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b d"]:
        """Return the mean over patches of the last block's tokens, [B, width]."""
        tokens = self.embedding(x).flatten(2).transpose(1, 2) + self.positions
        features: Tensor = self.blocks(tokens).mean(1)
        return features

    def forward(self, x: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b k"]:
        logits: Tensor = self.head(self.features(x))
        return logits


@stand_in.register
def _(network: PostNormTransformer) -> None:
    """Let the children be looked at: the positions have the channels of the tokens, all of which stay."""
