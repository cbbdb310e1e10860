"""Omni-dimensional dynamic convolution: attention over kernels, input channels, filters and taps.

Paper: Li, Zhou, Yao, "Omni-Dimensional Dynamic Convolution", arXiv 2209.07947 (ICLR 2022), section 3. Facts were checked against
OSVAI/ODConv's ``modules/odconv.py``.
"""

import math
from collections.abc import Iterator
from typing import Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from gconv_gan.config.ranges import Fraction
from gconv_gan.layers.dynamic.dy_conv import reset_attention
from gconv_gan.layers.dynamic.kernel_banks import ConvOptions, KernelBank2d, check_strategy, pooled
from gconv_gan.layers.dynamic.kernel_gates import FeatureGate
from gconv_gan.layers.norms.batch_norm import BatchNorm2d
from gconv_gan.layers.resample import Pair
from gconv_gan.layers.slicing import Axis, Slice

MIN_HIDDEN = 16
"""Least width of the attention's hidden layer in the official code."""


class ODConv2d(KernelBank2d):
    r"""A convolution whose kernel is scaled along all four of its axes by the pooled input (arXiv 2209.07947, section 3.2).

    .. math::
        y_b = u_b \odot \Big(\Big(\sum_k a_{bk}\, \tau_b \odot W_k\Big) * (v_b \odot x_b)\Big) + \beta, \qquad
        h_b = \mathrm{ReLU}(\mathrm{BN}(R\,\mathrm{mean}(x_b)))

    with :math:`a = \mathrm{softmax}(\ell_a(h)/T)` over K kernels and :math:`u, v, \tau = \mathrm{sigmoid}(\ell(h)/T)` over filters,
    input channels and taps. As in the official code all kernels share u, v and τ, and u is absent from depthwise convolutions, τ
    from 1x1 ones. The BatchNorm inside the attention couples the images of a training batch, over all processes.

    Input [B, I, H, W] gives [B, O, H', W']; it needs no condition.

    Args:
        num_kernels: Kernels of the bank (K; the paper: 4, or 1 for the version as small as the convolution it replaces).
        reduction: Width of the attention's hidden layer (h) over the input channels; at least 16 units.
        temperature: Divides the attention's logits at the start (T, a buffer).
        anneal_images: Images over which the temperature goes to 1 in a straight line (10 epochs of CIFAR-10); None: never.
            The training loop does it.
        conv: see ``KernelBank2d``; of the strategies only "grouped" and "bmm" can scale taps.

    Raises:
        ValueError: as ``KernelBank2d``, for a dynamic bias, and for a single image in training, whose batch has no variance.

    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        *,
        num_kernels: PositiveInt = 4,
        reduction: Fraction = 0.0625,
        temperature: PositiveFloat = 30.0,
        anneal_images: PositiveInt | None = 500_000,
        **conv: Unpack[ConvOptions],
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, num_kernels=num_kernels, **conv)
        self.anneal_images = anneal_images
        taps, depthwise = math.prod(self.kernel_size), self.geometry.groups == in_channels == out_channels
        check_strategy(self.strategy, "tap" if taps > 1 else "kernel")
        if self.bias_kind == "dynamic":
            raise ValueError("ODConv2d has a static bias or none")
        hidden = max(MIN_HIDDEN, int(in_channels * reduction))
        self.squeeze = nn.Linear(in_channels, hidden, bias=False)
        self.norm = BatchNorm2d(hidden)
        self.gate = FeatureGate(hidden, num_kernels, selection="softmax", temperature=temperature)
        self.channel = nn.Linear(hidden, in_channels)
        self.filter = None if depthwise else nn.Linear(hidden, out_channels)
        self.tap = nn.Linear(hidden, taps) if taps > 1 else None
        reset_attention(self)
        self.reset_parameters()

    @property
    def initial_gain(self) -> float:
        """Return the norm of equal gates times one half for each sigmoid."""
        sigmoids = sum(head is not None for head in (self.channel, self.filter, self.tap))
        return float(self.gate.initial_gates().norm()) * 0.5**sigmoids

    def slices(self, axis: Axis) -> Iterator[Slice]:
        """See ``Sliceable``."""
        yield from super().slices(axis)
        if axis == "inputs":
            yield Slice(self.squeeze, "weight", 1, reads=True)
        head = {"inputs": self.channel, "outputs": self.filter}.get(axis)
        if head is not None:
            yield Slice(head, "weight", 0)
            yield Slice(head, "bias")

    def resized(self, axis: Axis, count: int) -> None:
        """See ``Sliceable``."""
        super().resized(axis, count)
        if axis == "inputs":
            self.squeeze.in_features = count
        head = {"inputs": self.channel, "outputs": self.filter}.get(axis)
        if head is not None:
            head.out_features = count

    def forward(self, x: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o h2 w2"]:
        if self.training and x.shape[0] == 1 and not self.norm.shares_statistics():
            raise ValueError("ODConv2d normalises its attention over the batch, which in training must hold two images or more, not 1")
        with torch.autocast(x.device.type, enabled=False):
            squeezed = self.squeeze(pooled(x).to(self.squeeze.weight.dtype))[:, :, None, None]
            hidden = F.relu(self.norm(squeezed)).flatten(1)
            gates = self.gate(hidden)
            channel, filters, taps = (self._attention(head, hidden) for head in (self.channel, self.filter, self.tap))
        if taps is None:
            return self.convolve(x, gates, input_scale=channel, output_scale=filters)
        return self.convolve(x, gates[:, :, None] * taps[:, None, :], granularity="tap", input_scale=channel, output_scale=filters)

    def _attention(self, head: nn.Linear | None, hidden: Tensor) -> Tensor | None:
        return None if head is None else torch.sigmoid(head(hidden) / self.gate.temperature)
