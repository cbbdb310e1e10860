"""Dynamic convolution: a bank of kernels mixed by attention over them, from the pooled feature map.

Paper: Chen et al., "Dynamic Convolution: Attention over Convolution Kernels", arXiv 1912.03458 (2020), section 3. Facts were checked
against kaijieshi7/Dynamic-convolution-Pytorch, whose reshape of the mixed kernels is wrong for more than one group.
"""

from collections.abc import Iterator
from typing import Unpack

from jaxtyping import Float
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from gconv_gan.config.ranges import Fraction
from gconv_gan.layers.dynamic.kernel_banks import Bias, GeometryOptions, KernelBank2d, pooled
from gconv_gan.layers.dynamic.kernel_gates import FeatureGate
from gconv_gan.layers.resample import Pair
from gconv_gan.layers.slicing import Axis, Slice


class DyConv2d(KernelBank2d):
    r"""A convolution whose kernels are mixed by a softmax of the pooled input (arXiv 1912.03458, section 3).

    .. math::
        y_b = \Big(\sum_k a_{bk} W_k\Big) * x_b + \sum_k a_{bk} \beta_k, \qquad
        a_b = \mathrm{softmax}\big(R_2\,\mathrm{ReLU}(R_1\,\mathrm{mean}(x_b)) / T\big)

    At a high temperature T all kernels learn; it should fall to 1 in the first epochs (30 to 1 in ten of them).

    Input [B, I, H, W] gives [B, O, H', W']; it needs no condition.

    Args:
        num_kernels: Kernels of the bank (K).
        reduction: Width of the attention's hidden layer over the input channels.
        bias: Bias of the layer; dynamic: mixed by the same gates.
        temperature: Divides the attention's logits at the start (T, a buffer).
        anneal_images: Images over which the temperature goes to 1 in a straight line (10 epochs of CIFAR-10); None: never.
            The training loop does it.
        conv: see ``KernelBank2d``.

    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        *,
        num_kernels: PositiveInt = 4,
        reduction: Fraction = 0.25,
        bias: Bias = "dynamic",
        temperature: PositiveFloat = 30.0,
        anneal_images: PositiveInt | None = 500_000,
        **conv: Unpack[GeometryOptions],
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, num_kernels=num_kernels, bias=bias, **conv)
        self.anneal_images = anneal_images
        hidden = max(1, int(in_channels * reduction))
        self.gate = FeatureGate(in_channels, num_kernels, selection="softmax", temperature=temperature, hidden=hidden, bias=False)
        reset_attention(self.gate)
        self.reset_parameters()

    @property
    def initial_gain(self) -> float:
        """Return the norm of equal gates, the limit of high temperatures."""
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


def reset_attention(attention: nn.Module) -> None:
    """Draw the linear layers of an attention as the official codes of dynamic convolutions do: Kaiming-normal over the outputs."""
    for module in attention.modules():
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
