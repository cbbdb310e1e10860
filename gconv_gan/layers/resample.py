"""Resampling fused into a convolution: exact, and 2.25 times fewer multiplications for a 3x3 kernel.

Nearest upsampling before, or 2x2 average pooling after, a k x k convolution is one convolution of stride 2 with a kernel
of side k+1. The rewrites are identities (row form of the 3x3 case: [w0, w0+w1, w1+w2, w2]); they need an odd kernel,
stride 1, dilation 1 and padding (k-1)/2. A 1x1 convolution commutes with both and runs at the low resolution.
Karras et al., "Progressive Growing of GANs", arXiv 1710.10196, fuse the 3x3 case so in their released networks. The fused form
of "up" is a transposed convolution; "transposed" is the transposed convolution of stride 2 itself, whose taps are all independent.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from gconv_gan.config.hints import check_choice
from gconv_gan.layers.constants import constant
from gconv_gan.layers.forms import HasForms
from gconv_gan.runtime.precision import float32_arithmetic

Resample = Literal["none", "up", "down", "transposed"]
PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]
Pair = int | tuple[int, int]


def pair(value: Pair) -> tuple[int, int]:
    """Return a size given as one number or two as (height, width)."""
    return (value, value) if isinstance(value, int) else value


def fused_kernel(weight: Tensor, resample: Resample) -> Tensor:
    r"""Return the kernel a fused form applies to W [.., k, k]: E(W)/4 for "down", E(W) turned by 180 degrees for "up", else W.

    .. math:: E(W)[u, v] = \sum_{r, s \in \{0, 1\}} W[u - r, v - s]

    with W zero outside its k x k: the full convolution with a 2x2 box of ones, summed in at least float32 and rounded once. The rotation
    is needed because conv2d correlates and conv_transpose2d scatters.
    """
    if resample in ("none", "transposed"):
        return weight
    return _times(weight, box_matrix(weight.shape[-1], resample, *_precision(weight)))


def fused_side(side: int, resample: Resample) -> int:
    """Return the side of the kernel that a fused form applies: k + 1 for "up" and "down" (but 1 for 1x1), else k."""
    return side + 1 if resample in ("up", "down") and side > 1 else side


def taps_and_positions(kernel_size: tuple[int, int], resample: Resample, y: Tensor) -> tuple[int, int]:
    """Return the number of taps of the filters that computed ``y`` [B, O, H, W], and the number of positions.

    Fused resampling has (k+1)² taps per low-resolution pixel instead of k² per high-resolution one.
    """
    pixels = y.shape[2] * y.shape[3]
    if resample != "none":
        return fused_side(kernel_size[0], resample) ** 2, pixels if resample == "down" else pixels // 4
    return kernel_size[0] * kernel_size[1], pixels


@constant
def box_matrix(side: int, resample: Resample, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return E of "up" or "down" as a matrix [k^2, (k+1)^2], turned or divided as ``fused_kernel`` needs it.

    One small product is two to four times faster than adding padded kernels.
    """
    band = torch.ones(side, side + 1, dtype=dtype, device=device).triu().tril(1)
    box = torch.kron(band, band)
    if resample == "up":
        return box.flip(1)  # reversing the flattened axis rotates by 180 degrees
    return box / 4


def _precision(weight: Tensor) -> tuple[torch.dtype, torch.device]:
    return torch.promote_types(weight.dtype, torch.float32), weight.device


def _times(weight: Tensor, box: Tensor) -> Tensor:
    side = weight.shape[-1] + 1
    with float32_arithmetic(weight.device):  # otherwise the weights would be rounded before the sum as well as after it
        wide = weight.to(box.dtype).flatten(-2) @ box
    return wide.to(weight.dtype).view(*weight.shape[:-2], side, side)


def check_resample(
    kernel_size: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int] | str,
    dilation: tuple[int, int],
    padding_mode: PaddingMode,
    resample: Resample,
) -> None:
    """Raise ``ValueError`` for an unknown mode, and if the fused form of ``resample`` does not equal the plain one."""
    check_choice("resample", resample, Resample)
    check_choice("padding_mode", padding_mode, PaddingMode)
    if resample == "none":
        return
    side = kernel_size[0]
    parity = 0 if resample == "transposed" else 1
    if kernel_size != (side, side) or side % 2 != parity:
        raise ValueError(f"resample={resample!r} needs a square kernel of {'odd' if parity else 'even'} side, not {kernel_size}")
    if stride != (1, 1) or dilation != (1, 1):
        raise ValueError(f"resample={resample!r} needs stride 1 and dilation 1, not stride {stride} and dilation {dilation}")
    right = (side - 1) // 2
    if padding != (right, right):
        raise ValueError(f"resample={resample!r} with kernel {side} needs padding {right}, not {padding}")
    if resample == "transposed" and padding_mode != "zeros":
        raise ValueError(f"a transposed convolution has no border to pad: padding_mode='zeros', not {padding_mode!r}")
    if resample == "up" and padding_mode == "reflect" and side > 3:
        raise ValueError(f"resample='up' with reflect padding needs kernel 1 or 3, not {side}: use padding_mode='replicate'")


def resampled_conv2d(
    x: Float[Tensor, "b c h w"],
    weight: Float[Tensor, "o i kh kw"],
    bias: Float[Tensor, " o"] | None = None,
    *,
    padding: Pair = 0,
    stride: Pair = 1,
    dilation: Pair = 1,
    groups: int = 1,
    padding_mode: PaddingMode = "zeros",
    resample: Resample = "none",
    fused: bool = True,
) -> Float[Tensor, "b o h2 w2"]:
    """Return a 2-D convolution with nearest x2 upsampling before it ("up") or 2x2 average pooling after it ("down").

    ``x`` [B, C, H, W] and ``weight`` [O, C/groups, k, k] give [B, O, 2H, 2W] for "up", [B, O, H//2, W//2] for "down" and
    ``F.conv2d``'s shape for "none"; equal to the two operations in turn up to rounding, at (k+1)^2 / 4k^2 of their cost.
    "transposed" is the transposed convolution of stride 2 with this kernel, [B, O, 2H, 2W].
    A weight of higher precision than x is rounded to x's, once, after widening. ``fused`` false: "up" and "down" are two operations.

    Raises:
        ValueError: for a fused form with stride or dilation other than 1, an even kernel, or padding other than (k-1)/2; for
            "transposed", an odd kernel, or padding other than (k-2)/2 zeros.

    """
    padding, stride, dilation = pair(padding), pair(stride), pair(dilation)
    kernel_size = (weight.shape[2], weight.shape[3])
    check_resample(kernel_size, stride, padding, dilation, padding_mode, resample)
    apart = not fused and resample in ("up", "down") and kernel_size != (1, 1)
    if resample == "none" or apart:
        if apart and resample == "up":
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        x, padding = pad(x, padding, padding_mode)
        y = F.conv2d(x, weight.to(x.dtype), bias, stride, padding, dilation, groups)
        return F.avg_pool2d(y, 2) if apart and resample == "down" else y
    if kernel_size == (1, 1):
        return at_low_resolution(lambda low: F.conv2d(low, weight.to(x.dtype), bias, groups=groups), x, resample)
    kernel = fused_kernel(weight, resample).to(x.dtype)
    if resample in ("up", "transposed"):
        x, crop = pad_before_upsampling(x, padding[0], padding_mode)
        return F.conv_transpose2d(x, transposed_kernel(kernel, groups), bias, 2, crop, groups=groups)
    x, padding = pad(x, padding, padding_mode)
    return F.conv2d(x, kernel, bias, 2, padding, groups=groups)


def at_low_resolution(conv1x1: Callable[[Tensor], Tensor], x: Tensor, resample: Resample) -> Tensor:
    """Return a 1x1 convolution with its resampling: it commutes with both and runs at the low resolution."""
    if resample == "up":
        return F.interpolate(conv1x1(x), scale_factor=2.0, mode="nearest")
    return conv1x1(F.avg_pool2d(x, 2) if resample == "down" else x)


def pad(
    x: Float[Tensor, "b c h w"], padding: tuple[int, int], padding_mode: PaddingMode
) -> tuple[Float[Tensor, "b c h2 w2"], tuple[int, int]]:
    """Return x padded by (rows, columns) and the remaining padding of the convolution, which adds zeros at no cost."""
    if padding_mode == "zeros" or padding == (0, 0):
        return x, padding
    rows, columns = padding
    return F.pad(x, (columns, columns, rows, rows), mode=padding_mode), (0, 0)


def pad_before_upsampling(x: Tensor, padding: int, padding_mode: PaddingMode) -> tuple[Tensor, int]:
    """Return x padded at low resolution and the padding (a crop) of the transposed convolution that follows.

    Padding an upsampled image is upsampling one padded by half as much; reflecting a doubled row by one pixel repeats it.
    """
    if padding_mode == "zeros":
        return x, padding
    border = (padding + 1) // 2
    x, _ = pad(x, (border, border), "circular" if padding_mode == "circular" else "replicate")
    return x, padding + 2 * border


def transposed_kernel(weight: Tensor, groups: int) -> Tensor:
    """Return a kernel [O, C/groups, k, k] in the order of ``conv_transpose2d``, [C, O/groups, k, k]."""
    if groups == 1:
        return weight.transpose(0, 1)
    return rearrange(weight, "(g o) c h w -> (g c) o h w", g=groups)


class ResampledConv2d(HasForms, nn.Conv2d):
    r"""A ``Conv2d`` with nearest x2 upsampling before it or 2x2 average pooling after it, fused into one convolution.

    .. math:: y = \mathrm{pool}_2(W * x) + b \;\; (\text{"down"}), \qquad y = W * \mathrm{up}_2(x) + b \;\; (\text{"up"})

    The parameter stays the k x k kernel (initialisation, spectral normalisation, weight decay and averaging act on it) and
    is widened in every forward pass, see :func:`fused_kernel`. Constructor, state dict and result shapes of "none" are ``Conv2d``'s;
    "up" and "transposed" give [B, O, 2H, 2W], "down" [B, O, H//2, W//2].

    Args:
        resample: "none", "up", "down", or "transposed" for a transposed convolution of stride 2 with an even kernel.

    Raises:
        ValueError: for a fused form with stride or dilation other than 1, an even kernel, or padding other than (k-1)/2; for
            "transposed", an odd kernel, or padding other than (k-2)/2 zeros.

    """

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
        resample: Resample = "none",
    ) -> None:
        check_resample(pair(kernel_size), pair(stride), pair(padding), pair(dilation), padding_mode, resample)
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype)
        self.resample: Resample = resample

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        # overrides nn.Conv2d's method: callers pass a kernel derived from the weight
        if self.resample == "none":
            plain: Tensor = super()._conv_forward(input, weight, bias)
            return plain
        mode: PaddingMode = self.padding_mode
        padding = (self.kernel_size[0] - 1) // 2
        fused = self.chosen_form != "apart"
        return resampled_conv2d(
            input, weight, bias, padding=padding, groups=self.groups, padding_mode=mode, resample=self.resample, fused=fused
        )

    def forms(self) -> Sequence[str]:
        """See ``HasForms``: resampling "apart" from the convolution; by the rule it is fused."""
        return ("apart",) if self.resample in ("up", "down") and self.kernel_size != (1, 1) else ()

    def extra_repr(self) -> str:
        text: str = super().extra_repr()  # type: ignore[no-untyped-call]
        return text if self.resample == "none" else f"{text}, resample={self.resample!r}"
