"""Non-local block: each pixel adds a weighted sum of all pixels to itself, with and without softmax, and as self-attention of GANs.

Wang, Girshick, Gupta, He, "Non-local Neural Networks", arXiv 1711.07971 (2018). Without softmax: Cho, Kim, Cho, Ahn, Hong, Kim,
"Rethinking Efficacy of Softmax for Lightweight Non-Local Neural Networks", arXiv 2207.13423 (2022), checked against
YooshinCho/pytorch_RethinkingSFM. In GANs: Zhang, Goodfellow, Metaxas, Odena, "Self-Attention Generative Adversarial Networks",
arXiv 1805.08318 (2019), checked against BigGAN-PyTorch and mimicry.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn

from gconv_gan.config.hints import check_choice
from gconv_gan.layers.norms.batch_norm import BatchNorm2d
from gconv_gan.layers.slicing import Axis, Slice, Sliceable, Tie, UnsliceableError, ordinary_conv, resized, slices

AttentionNorm = Literal["scale", "softmax"]
Order = Literal["auto", "attention", "associative"]
OutputNorm = Literal["batch_norm", "gain"]


class NonLocal2d(Sliceable, nn.Module):
    r"""A non-local block: a residual sum over all pixels, weighted by the product of a pixel's query with another pixel's key.

    .. math::
        y = x + \nu(W_o\, Y(x)), \qquad
        Y = \begin{cases} V\, \mathrm{softmax}_j(Q^\top K)^\top & \text{norm "softmax"} \\
                          V K^\top Q / \sqrt{m\, c} & \text{norm "scale"} \end{cases}

    per head, with :math:`Q = W_q x` [c, n], :math:`K = W_k x` [c, m], :math:`V = W_v x` [d, m], the n = H W pixels and m keys (m = n,
    or n/4 with ``pool``); heads are concatenated, all four maps are 1x1 and without bias. "softmax" has no temperature. "scale" keeps
    the variance of Y at that of V for independent unit-normal Q, K, V and depends on x cubically.

    Without softmax the product is associative: :math:`V (K^\top Q)`, order "attention", takes m n (c + d) multiply-adds and an
    [n, m] matrix, :math:`(V K^\top) Q`, order "associative", takes c d (n + m) and none. "auto" takes the cheaper one for each input's
    shape; the result is the same up to rounding. At a fixed total width, more heads make "associative" cheaper.

    :math:`\nu` is a BatchNorm whose scale starts at 0, or a learned scalar that starts at 0: the block starts as the identity (plus
    positions), and only :math:`\nu` has a gradient in the first step. The 1x1 maps start as N(0, 0.01²). With "scale" and a scalar
    the branch's magnitude depends on the resolution; BatchNorm removes the dependence.

    Products are computed in at least float32, since without softmax they grow cubically. Input and result [B, C, H, W], any H and W.

    Args:
        channels: C.
        norm: Divide the attention by √(pixels · width), or take its softmax.
        order: how "scale" is evaluated; "softmax" knows "attention" alone.
        heads: Number of heads of the attention.
        embed_channels: Width of queries, keys and values of each head (c); None: half the channels, or a head's share of them.
        value_channels: d, per head; None: c.
        pool: max-pool keys and values 2x2.
        output_norm: "batch_norm" or "gain"; a discriminator without BatchNorm takes "gain".
        positions: add a fixed sinusoid of the pixel's place to x, which stays in the result.

    Raises:
        ValueError: for an unknown option, "associative" with softmax, widths below 1, positions with C not divisible by 4, or (in
            ``forward``) an input too small to be pooled.

    """

    gain: nn.Parameter | None

    def __init__(
        self,
        channels: int,
        *,
        norm: AttentionNorm = "scale",
        order: Order = "auto",
        heads: PositiveInt = 1,
        embed_channels: PositiveInt | None = None,
        value_channels: int | None = None,
        pool: bool = False,
        output_norm: OutputNorm = "batch_norm",
        positions: bool = False,
    ) -> None:
        super().__init__()
        for name, value, options in (("norm", norm, AttentionNorm), ("order", order, Order), ("output_norm", output_norm, OutputNorm)):
            check_choice(name, value, options)
        if norm == "softmax" and order == "associative":
            raise ValueError("softmax is applied between the two products: order='associative' needs norm='scale'")
        if heads < 1:
            raise ValueError(f"heads must be positive, not {heads}")
        if embed_channels is None:
            embed_channels = channels // 2 if heads == 1 else channels // heads
        if value_channels is None:
            value_channels = embed_channels
        if embed_channels < 1 or value_channels < 1:
            raise ValueError(f"{channels} channels leave {embed_channels} for queries and {value_channels} for values of {heads} head(s)")
        if positions and channels % 4:
            raise ValueError(f"positions are sines and cosines of two axes and need a multiple of 4 channels, not {channels}")
        self.channels, self.heads, self.norm, self.order, self.pool, self.positions = channels, heads, norm, order, pool, positions
        self.embed_channels, self.value_channels = embed_channels, value_channels
        self.query = nn.Conv2d(channels, heads * embed_channels, 1, bias=False)
        self.key = nn.Conv2d(channels, heads * embed_channels, 1, bias=False)
        self.value = nn.Conv2d(channels, heads * value_channels, 1, bias=False)
        self.output = nn.Conv2d(heads * value_channels, channels, 1, bias=False)
        self.output_norm = BatchNorm2d(channels) if output_norm == "batch_norm" else None
        self.register_parameter("gain", nn.Parameter(torch.empty(())) if output_norm == "gain" else None)
        self.reset_parameters()

    @classmethod
    def sagan(cls, channels: int) -> "NonLocal2d":
        """Return the self-attention of SAGAN and BigGAN: softmax, one head, c = C/8, d = C/2, pooled keys and values, scalar gain.

        Raises:
            ValueError: for fewer than 8 channels.

        """
        if channels < 8:
            raise ValueError(f"SAGAN's attention divides the channels by 8, but there are only {channels}")
        return cls(channels, norm="softmax", embed_channels=channels // 8, value_channels=channels // 2, pool=True, output_norm="gain")

    def reset_parameters(self) -> None:
        """Set the maps to N(0, 0.01²) and the branch to zero."""
        for conv in (self.query, self.key, self.value, self.output):
            nn.init.normal_(conv.weight, std=0.01)
        if self.output_norm is not None:
            self.output_norm.reset_parameters()
            nn.init.zeros_(self.output_norm.weight)
        if self.gain is not None:
            nn.init.zeros_(self.gain)

    def sizes(self) -> Mapping[Axis, int]:
        """See ``Sliceable``; the widths between the maps are kept."""
        return {"inputs": self.channels, "outputs": self.channels}

    def slices(self, axis: Axis) -> Iterator[Slice]:
        """See ``Sliceable``."""
        for conv in (self.query, self.key, self.value) if axis == "inputs" else (self.output,):
            yield from slices(conv, axis)
        if axis == "outputs" and self.output_norm is not None:
            yield from slices(self.output_norm, axis)

    def resized(self, axis: Axis, count: int) -> None:
        """See ``Sliceable``."""
        for conv in (self.query, self.key, self.value) if axis == "inputs" else (self.output,):
            resized(conv, axis, count)
        if axis == "outputs":
            self.channels = count
            if self.output_norm is not None:
                resized(self.output_norm, axis, count)

    def ties(self) -> Iterable[Tie]:
        """See ``Sliceable``."""
        return ((("inputs", channel), ("outputs", channel)) for channel in range(self.channels))

    def stand_in(self) -> nn.Module:
        """See ``Sliceable``."""
        if self.positions:
            raise UnsliceableError("NonLocal2d with positions adds an encoding that depends on the number of channels")
        return ordinary_conv(self.channels, self.channels, (1, 1))  # with ties for the addition

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        height, width = x.shape[2:]
        if self.positions:
            x = x + sinusoid(self.channels, height, width).to(x)
        key, value = self.key(x), self.value(x)
        if self.pool:
            if min(height, width) < 2:
                raise ValueError(f"an image of {height}x{width} pixels is too small for pooled keys and values")
            key, value = F.max_pool2d(key, 2), F.max_pool2d(value, 2)
        gathered = self._gather(self._split(self.query(x)), self._split(key), self._split(value))
        maps = gathered.reshape(len(x), -1, height, width)
        branch = self.output(maps.contiguous() if x.is_contiguous() else maps)
        result: Tensor = x + (self.gain * branch if self.output_norm is None else self.output_norm(branch))
        return result

    def _split(self, maps: Tensor) -> Float[Tensor, "b heads c n"]:
        return maps.reshape(len(maps), self.heads, -1, maps.shape[2] * maps.shape[3])

    def _gather(
        self, query: Float[Tensor, "b k c n"], key: Float[Tensor, "b k c m"], value: Float[Tensor, "b k d m"]
    ) -> Float[Tensor, "b k d n"]:
        """Return Y, in the dtype of ``value``."""
        with torch.autocast(query.device.type, enabled=False):
            wide = torch.promote_types(value.dtype, torch.float32)
            q, k, v = query.to(wide), key.to(wide), value.to(wide)
            if self.norm == "softmax":
                # the gradient of the softmax then has the layout of the softmax, which V times its transpose would not give it
                result = ((q.mT @ k).softmax(-1) @ v.mT).mT
            else:
                q = q / math.sqrt(k.shape[3] * self.embed_channels)
                result = (v @ k.mT) @ q if self.evaluation_order(q.shape[3], k.shape[3]) == "associative" else v @ (k.mT @ q)
        return result.to(value.dtype)

    def evaluation_order(self, pixels: int, keys: int) -> Order:
        """Return the order in which ``pixels`` queries and ``keys`` keys are evaluated, "attention" or "associative"."""
        if self.norm == "softmax":
            return "attention"
        if self.order != "auto":
            return self.order
        return min(("associative", "attention"), key=lambda order: self._macs(order, pixels, keys))

    def macs(self, x: Tensor, y: Tensor) -> int:
        """Return :meth:`product_macs` of maps of the size of ``x``."""
        return self.product_macs(x.shape[2], x.shape[3])

    def product_macs(self, height: int, width: int) -> int:
        """Return the multiply-adds of the two products for one image (the 1x1 maps are counted separately)."""
        pixels = height * width
        keys = (height // 2) * (width // 2) if self.pool else pixels
        return self._macs(self.evaluation_order(pixels, keys), pixels, keys)

    def _macs(self, order: Order, pixels: int, keys: int) -> int:
        c, d = self.embed_channels, self.value_channels
        return self.heads * (c * d * (pixels + keys) if order == "associative" else pixels * keys * (c + d))

    def extra_repr(self) -> str:
        widths = f"{self.heads}x{self.embed_channels}"
        return f"{self.channels}, {widths}, norm={self.norm!r}, order={self.order!r}, pool={self.pool}, positions={self.positions}"


def sinusoid(channels: int, height: int, width: int) -> Float[Tensor, "c h w"]:
    r"""Return the fixed encoding of a pixel's place: rows in the first C/2 channels, columns in the others.

    .. math:: P_{2i} = \sin(p / 10000^{2i / (C/2)}), \qquad P_{2i+1} = \cos(p / 10000^{2i / (C/2)})

    at position p of an axis (Vaswani et al., arXiv 1706.03762, section 3.5, once per axis).
    """
    half = channels // 2
    frequencies = 10000.0 ** -(torch.arange(0, half, 2, dtype=torch.float64) / half)

    def encode(length: int) -> Tensor:
        angles = torch.arange(length, dtype=torch.float64)[None] * frequencies[:, None]
        return torch.stack([angles.sin(), angles.cos()], dim=1).flatten(0, 1)

    rows, columns = encode(height)[:, :, None], encode(width)[:, None, :]
    return torch.cat([rows.expand(-1, -1, width), columns.expand(-1, height, -1)]).float()
