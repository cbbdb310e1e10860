"""cConv: filters scaled and input channels shifted by the class.

Paper: Sagong, Shin, Yeo, Park, Ko, "cGANs with Conditional Convolution Layer", arXiv 1906.00709 (2019). Only the abstract of the
paper was available (filter-wise scaling, channel-wise shifting); the form is that of public implementations.
"""

from collections.abc import Iterator
from typing import ClassVar, Unpack

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gconv_gan.layers.conditioning import Condition, Conditioned
from gconv_gan.layers.dynamic.kernel_banks import ConvOptions, KernelBank2d
from gconv_gan.layers.resample import Pair, taps_and_positions
from gconv_gan.layers.slicing import Axis, Slice


class CConv2d(KernelBank2d, Conditioned):
    r"""A convolution scaled and shifted by the class (arXiv 1906.00709).

    .. math::
        y_b = W_b * x_b + \beta, \qquad W_b[o, i] = s_{c(b), o}\, W[o, i] + t_{c(b), i} / k^2

    No kernel is built per sample: y = s ⊙ (W * x) + mean over the taps of Σ_i t_i x_i. With the initial
    s = 1 and t = 0 it equals the convolution that it replaces.

    Parameters: ``bank`` [1, O, I/groups, k, k], ``scale`` [num_classes, O], ``shift`` [num_classes, I], ``bias`` [O]. Input
    [B, I, H, W] and a condition whose y is [B] give [B, O, H', W'].

    Args:
        num_classes: number of classes.
        conv: see ``KernelBank2d``.

    Raises:
        ValueError: as ``KernelBank2d``; without classes; at run time when the condition has no y.

    """

    needs_classes: ClassVar[bool] = True
    ones: Tensor

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Pair, *, num_classes: int | None, **conv: Unpack[ConvOptions]
    ) -> None:
        if num_classes is None:
            raise ValueError("a class-conditional convolution needs num_classes: train with classes, or choose another kind")
        super().__init__(in_channels, out_channels, kernel_size, num_kernels=1, **conv)
        self.scale = nn.Embedding(num_classes, out_channels)
        self.shift = nn.Embedding(num_classes, in_channels)
        nn.init.ones_(self.scale.weight)
        nn.init.zeros_(self.shift.weight)
        self.register_buffer("ones", torch.ones(1, 1), persistent=False)
        self.reset_parameters()

    def macs(self, x: Tensor, y: Tensor) -> int:
        """Return the multiply-accumulates per image, with those of the shifts of the input channels and of one box filter per group."""
        taps, positions = taps_and_positions(self.kernel_size, self.geometry.resample, y)
        shifting = self.in_channels * x.shape[2] * x.shape[3] + self.geometry.groups * taps * positions
        return super().macs(x, y) + shifting

    def slices(self, axis: Axis) -> Iterator[Slice]:
        """See ``Sliceable``."""
        yield from super().slices(axis)
        if axis == "inputs":
            yield Slice(self.shift, "weight", 1, reads=True)
        elif axis == "outputs":
            yield Slice(self.scale, "weight", 1)

    def resized(self, axis: Axis, count: int) -> None:
        """See ``Sliceable``."""
        super().resized(axis, count)
        (self.shift if axis == "inputs" else self.scale).embedding_dim = count

    def forward(self, x: Float[Tensor, "b i h w"], condition: Condition) -> Float[Tensor, "b o h2 w2"]:
        y = condition.require_y("CConv2d")
        return self.convolve(x, self.ones, output_scale=self.scale(y), shift=self.shift(y))
