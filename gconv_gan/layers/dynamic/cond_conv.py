"""CondConv: a bank of kernels mixed by gates of the pooled feature map.

Paper: Yang, Bender, Le, Ngiam, "CondConv: Conditionally Parameterized Convolutions for Efficient Inference", arXiv 1904.04971
(2019), section 3. Facts were checked against tensorflow/tpu's ``condconv_layers.py`` and timm's ``cond_conv2d.py``.
"""

from collections.abc import Iterator
from typing import Unpack

from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor

from gconv_gan.layers.dynamic.kernel_banks import Bias, GeometryOptions, KernelBank2d, pooled
from gconv_gan.layers.dynamic.kernel_gates import FeatureGate
from gconv_gan.layers.resample import Pair
from gconv_gan.layers.slicing import Axis, Slice


class CondConv2d(KernelBank2d):
    r"""A convolution whose kernels are mixed by a sigmoid of the pooled input (arXiv 1904.04971, section 3).

    .. math:: y_b = \Big(\sum_k a_{bk} W_k\Big) * x_b + \sum_k a_{bk} \beta_k, \qquad a_b = \mathrm{sigmoid}(R\,\mathrm{mean}(x_b) + r)

    Input [B, I, H, W] gives [B, O, H', W']; it needs no condition.

    Args:
        num_kernels: Kernels of the bank (K; the paper: 8 in most networks; timm: 4).
        bias: Bias of the layer; dynamic: mixed by the same gates.
        conv: see ``KernelBank2d``.

    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        *,
        num_kernels: PositiveInt = 4,
        bias: Bias = "dynamic",
        **conv: Unpack[GeometryOptions],
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, num_kernels=num_kernels, bias=bias, **conv)
        self.gate = FeatureGate(in_channels, num_kernels, selection="sigmoid")
        self.reset_parameters()

    @property
    def initial_gain(self) -> float:
        """Return the norm of the first gates."""
        return float(self.gate.initial_gates().norm())

    def slices(self, axis: Axis) -> Iterator[Slice]:
        """See ``Sliceable``."""
        yield from super().slices(axis)
        if axis == "inputs" and not self.gate.constant:
            yield Slice(self.gate.linears()[0], "weight", 1, reads=True)

    def resized(self, axis: Axis, count: int) -> None:
        """See ``Sliceable``."""
        super().resized(axis, count)
        if axis == "inputs" and not self.gate.constant:
            self.gate.linears()[0].in_features = count

    def forward(self, x: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o h2 w2"]:
        return self.convolve(x, self.gate(pooled(x)))
