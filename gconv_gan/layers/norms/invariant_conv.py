r"""Convolution that is invariant to the scale of its input and to linear mixing of channels; both normalisations act on the weights.

Ye, Zhou, McKinney, Liu, Zhou, Zhdanov, "Exploiting Invariance in Training Deep Neural Networks", AAAI 2022, arXiv 2103.16634;
checked against amazon-science/network-deconvolution-pp. The whitening is that of Ye et al., "Network Deconvolution", ICLR 2020.
Where this differs from the released code: the bias is optional, statistics over processes are weighted by their shares, 1x1
convolutions sample a grid of pixels as others do, and the counter of ``freeze`` is saved.
"""

import math
from typing import Annotated, ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn

from gconv_gan.config.hints import check_choice
from gconv_gan.config.schema import Fixed
from gconv_gan.layers.norms.whitening import Running, Whitening
from gconv_gan.layers.resample import PaddingMode, Pair, Resample, ResampledConv2d, pad
from gconv_gan.layers.slicing import Sliceable, UnsliceableError
from gconv_gan.runtime.precision import float32_arithmetic

LocalNorm = Literal["layer", "l1", "none"]


def locally_normalised(x: Float[Tensor, "b c h w"], norm: LocalNorm, eps: float) -> Float[Tensor, "b c h w"]:
    r"""Return each image divided by its scale.

    .. math:: \text{"layer":} \; \frac{x - m}{\sqrt{s^2 + \varepsilon^2}}, \qquad \text{"l1":} \; \frac{x}{\mathrm{mean}|x| + \varepsilon}

    with mean m and unbiased standard deviation s over the C H W values of the image. The released code divides by s + eps, which has the
    same limits and violates the invariance more; this is one group normalisation. Statistics have at least float32.

    Raises:
        ValueError: for "layer" and images of a single value, whose deviation is undefined.

    """
    if norm == "none":
        return x
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    if norm == "l1":
        return (wide / (wide.abs().mean((1, 2, 3), keepdim=True) + eps)).to(x.dtype)
    values = x[0].numel()
    if values < 2:
        raise ValueError(f"an image of a single value has no deviation to be divided by: got input {tuple(x.shape)}")
    biased = (values - 1) / values  # ratio of the biased to the unbiased variance
    return F.group_norm(wide, 1, wide.new_full(x.shape[1:2], biased**0.5), eps=biased * eps**2).to(x.dtype)


def block_of(channels: int, block_size: int, groups: int = 1) -> int:
    """Return the channels B of a block: all of a group's, or ``block_size`` where it divides C, or their greatest common divisor."""
    return channels // groups if groups > 1 or block_size >= channels else math.gcd(block_size, channels)


class InvariantConv2d(Sliceable, ResampledConv2d):
    r"""A convolution of locally normalised (S), whitened (D) patches.

    .. math::
        y = W' * S(x) + b', \qquad W' = W D, \quad b' = b - \textstyle\sum_j W'_j\, \mu, \qquad
        D \approx \mathrm{Cov}^{-1/2}, \quad \mathrm{Cov} = \mathbb E[(r - \mu)(r - \mu)^\top] + \varepsilon I

    The rows r are the k x k patches of S(x), each cut into C/B rows of length f = k k B, the j-th of which holds the entries
    q = j mod C/B of the patch (channel-major): one f x f matrix for all. With groups, each group's patches have a matrix of their own.
    It equals the convolution of whitened patches, without whitening any patch. Whitening is *partial* as in ``IterNorm``, here from
    :math:`v_0 = \lambda / \lVert\mathrm{Cov}\rVert_F`: white patches of f = 64 end with variance 0.9985, of f = 576 with 0.899.

    Training takes mean and D from every ``sampling_stride``-th output position of the batch of all processes and moves
    ``whitening.running_mean`` and ``.running_matrix``; evaluation uses those. Padded zeros are included in the statistics. The layer
    replaces BatchNorm. Covariance and Newton's method have at least float32.

    Shapes, ``weight`` and ``bias`` are ``Conv2d``'s. Cost beside the convolution, in multiply-adds: k k B / (sampling_stride^2 O) of it
    for the covariance, and (3T - 3) f^3 whatever the batch; the latter dominates for small batches and maps, where B = 16 ... 32
    is advisable. With ``whiten=False`` no image depends on another: the form for discriminators.

    Args:
        local_norm: Normalisation of each image before the convolution (S), against changes of scale.
        whiten: Whiten the patches over the batch (D), against linear mixing of the channels; an image's result then depends on the others.
        block_size: Channels whitened together (B; released code: 64, which costs ten times a plain convolution at small batches); clamped
            to C, replaced by the greatest common divisor with C, and by C/groups where there are groups.
        sampling_stride: Distance of the patches that the covariance is taken over, in output positions.
        iterations: Newton iterations (T).
        eps: added to the diagonal of the covariance and to the deviation in S.
        momentum: of the running averages; None: the plain average over batches.
        running: What is averaged for evaluation: the whitening matrix or, nearer to a batch's own where weights move fast, the covariance.
        freeze: Update the statistics in the first 100 of every 1000 passes alone.
        resample: as ``ResampledConv2d``; patches are those of the upsampled map.

    Raises:
        ValueError: for what ``ResampledConv2d`` refuses, padding by name, whitening of a transposed convolution (whose patches are mostly
            inserted zeros), an unknown ``local_norm``, and in training where there is a single patch.

    """

    couples_batch: ClassVar[str] = "whiten"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair = 0,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        local_norm: LocalNorm = "layer",
        whiten: bool = True,
        block_size: PositiveInt = 64,
        sampling_stride: PositiveInt = 3,
        iterations: PositiveInt = 5,
        eps: Annotated[float, Fixed] = 1e-5,
        momentum: Annotated[float | None, Fixed] = 0.1,
        running: Running = "matrix",
        freeze: bool = False,
        resample: Resample = "none",
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype, resample=resample
        )
        check_choice("local_norm", local_norm, LocalNorm)
        check_choice("running", running, Running)
        if isinstance(self.padding, str):
            raise ValueError(f"InvariantConv2d needs padding in pixels, not {self.padding!r}")
        if whiten and resample == "transposed":
            raise ValueError("the patches of a transposed convolution are mostly inserted zeros: use whiten=False or resample='up'")
        if block_size < 1 or sampling_stride < 1:
            raise ValueError(f"block_size and sampling_stride must be positive, not {block_size} and {sampling_stride}")
        self.local_norm, self.eps, self.sampling_stride = local_norm, eps, sampling_stride
        self.block = block_of(in_channels, block_size, groups)
        self.whitening: Whitening | None = None
        if whiten:
            size = math.prod(self.kernel_size) * self.block
            self.whitening = Whitening(
                size * groups, groups, iterations=iterations, eps=eps, scale="frobenius", momentum=momentum, running=running, freeze=freeze
            ).to(self.weight.device, self.weight.dtype)

    def stand_in(self) -> nn.Module:
        """See ``Sliceable``."""
        raise UnsliceableError("InvariantConv2d normalises its input channels together")

    def forward(self, x: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o h2 w2"]:
        x = locally_normalised(x, self.local_norm, self.eps)
        if self.whitening is None:
            return self._conv_forward(x, self.weight, self.bias)
        weight, bias = self._folded(*self.whitening(self._patches(x)))
        return self._conv_forward(x, weight.to(x.dtype), bias.to(x.dtype))

    def _patches(self, x: Tensor) -> Float[Tensor, "b f j l"]:
        """Return the sampled patches as a map with one channel per entry of a row and one pixel per row."""
        if self.resample == "up":
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        x, padding = pad(x, cast(tuple[int, int], self.padding), self.padding_mode)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        stride = (self.sampling_stride * self.stride[0], self.sampling_stride * self.stride[1])
        patches = F.unfold(wide, self.kernel_size, cast(tuple[int, int], self.dilation), padding, stride)
        rows = self.in_channels // (self.groups * self.block)
        return patches.view(patches.shape[0], -1, rows, patches.shape[2])

    def _folded(self, mean: Tensor, matrices: Tensor) -> tuple[Tensor, Tensor]:
        """Return the kernel W D and the bias b - sum W D mu."""
        groups, size = matrices.shape[:2]
        with float32_arithmetic(matrices.device):
            patches = self.weight.to(matrices.dtype).flatten(1)
            rows = rearrange(patches, "(g o) (f j) -> g (o j) f", g=groups, f=size)
            folded = rearrange(rows @ matrices, "g (o j) f -> (g o) f j", o=self.out_channels // groups)
            bias = -(folded.sum(2).view(groups, -1, size) @ mean.view(groups, size, 1)).flatten()
            if self.bias is not None:
                bias = bias + self.bias
            return folded.reshape(self.weight.shape), bias

    def extra_repr(self) -> str:
        text = f"{super().extra_repr()}, local_norm={self.local_norm!r}"
        return text if self.whitening is None else f"{text}, block={self.block}, sampling_stride={self.sampling_stride}"
