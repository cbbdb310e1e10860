"""Convolutions with a kernel per sample, computed by the cheapest of several exact forms.

A bank holds K kernels W_k; the gates a_b of sample b mix them, W_b = sum_k a_bk W_k, and y_b = W_b * x_b. Mixing is linear
and may be applied to the kernels (before the convolution), to the outputs (after it) or to the inputs (before it); all three
compute the same function at different costs. With S output pixels, M elements a kernel and a batch of B:

    =========  ====================================================  =======================  =====================
    strategy   what is computed                                      multiply-adds            largest intermediate
    =========  ====================================================  =======================  =====================
    grouped    mix kernels; convolutions of few groups each          B M (S + K)              kernels of few samples
    unfused    as grouped, with separate up- or downsampling         B M (S + K)              kernels of few samples
    bmm        mix kernels; unfold and multiply, matrix by matrix    B M (S + K)              B M, k^2 times the input
    wide       one convolution to K O channels; mix its outputs      B S K (M + O)            K outputs
    concat     one convolution of K scaled copies of the input       B S K M                  K inputs
    bucketed   sort the samples by their one kernel; K convolutions  B S M                    none; no gradient
    =========  ====================================================  =======================  =====================

Fused resampling makes S the low resolution's and M (k + 1)^2/k^2 as large: fewer multiplications, more kernels to move. "unfused"
is for few pixels, where the memory traffic of the kernels dominates.

Mixing kernels as grouped convolution: Yang et al., "CondConv", arXiv 1904.04971 (2019). Kernels, gates and widened kernels are
combined in at least float32 and rounded once.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from gconv_gan.config.hints import check_choice
from gconv_gan.layers.dynamic.mixed_kernels import Form, Granularity, arranged, convolve, mix_kernels, side_by_side, spread
from gconv_gan.layers.resample import (
    PaddingMode,
    Resample,
    at_low_resolution,
    check_resample,
    fused_kernel,
    fused_side,
    pad,
    pad_before_upsampling,
    resampled_conv2d,
    taps_and_positions,
)
from gconv_gan.layers.slicing import ordinary_conv

Strategy = Literal["grouped", "unfused", "bmm", "wide", "concat", "bucketed"]

ADMISSIBLE: dict[Granularity, tuple[Strategy, ...]] = {
    "kernel": get_args(Strategy),
    "filter": ("grouped", "unfused", "bmm", "wide"),  # a gate on outputs cannot be applied to the inputs,
    "channel": ("grouped", "unfused", "bmm", "concat"),  # nor one on inputs to the outputs,
    "tap": ("grouped", "unfused", "bmm"),  # and a gate on taps can be applied to neither
}
SEPARATE_WORK = 1 << 24
"""Multiply-adds of a sample from which on a CPU convolves each sample separately (measured, forward and backward, one AVX-512 core)."""
ONEDNN_ELEMENTS = 20480
"""Up to this many elements of one image, torch convolves it with kernels of at most 3 x 3 without oneDNN, in twice the time."""
FEW_OUTPUTS = 16
"""Up to this many output channels (an RGB image has 3), K sets of outputs are cheaper than mixing the kernels."""


@dataclass(frozen=True)
class Geometry:
    """Geometry of a convolution: the arguments of ``Conv2d`` except channels and kernel, and the fused resampling."""

    padding: tuple[int, int] = (0, 0)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    padding_mode: PaddingMode = "zeros"
    resample: Resample = "none"

    def check(self, kernel_size: tuple[int, int]) -> None:
        """Raise ``ValueError`` if resampling cannot be fused with this kernel."""
        check_resample(kernel_size, self.stride, self.padding, self.dilation, self.padding_mode, self.resample)

    def without_resampling(self) -> "Geometry":
        """Return the same geometry with resample="none"."""
        return replace(self, resample="none")

    def conv(self, x: Tensor, weight: Tensor, bias: Tensor | None = None, *, samples: int = 1) -> Tensor:
        """Return one convolution; ``samples`` images side by side on the channel axis multiply the groups."""
        return resampled_conv2d(
            x,
            weight,
            bias,
            padding=self.padding,
            stride=self.stride,
            dilation=self.dilation,
            groups=self.groups * samples,
            padding_mode=self.padding_mode,
            resample=self.resample,
        )

    def macs(self, filters: int, inputs: int, kernel_size: tuple[int, int], y: Tensor) -> int:
        """Return the multiply-accumulates per image of ``filters`` filters over ``inputs`` channels that make maps of ``y``'s size."""
        taps, positions = taps_and_positions(kernel_size, self.resample, y)
        return filters * (inputs // self.groups) * taps * positions

    def stand_in(self, in_channels: int, out_channels: int, kernel_size: tuple[int, int]) -> nn.Module:
        """Return an ordinary dense convolution of this geometry, see ``Sliceable``."""
        return ordinary_conv(
            in_channels,
            out_channels,
            kernel_size,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            resample=self.resample,
        )

    def output_size(self, height: int, width: int, kernel_size: tuple[int, int]) -> tuple[int, int]:
        """Return the (height, width) of the result."""
        if self.resample != "none":
            return (height // 2, width // 2) if self.resample == "down" else (2 * height, 2 * width)
        sizes = zip((height, width), kernel_size, self.padding, self.stride, self.dilation, strict=True)
        rows, columns = ((size + 2 * pad - dilation * (k - 1) - 1) // stride + 1 for size, k, pad, stride, dilation in sizes)
        return rows, columns


PLAIN = Geometry()


def per_sample_conv2d(
    x: Float[Tensor, "b c h w"],
    bank: Float[Tensor, "k o i kh kw"],
    gates: Float[Tensor, "m k"] | Float[Tensor, "m k g"],
    bias: Float[Tensor, " o"] | Float[Tensor, "n o"] | None = None,
    *,
    geometry: Geometry = PLAIN,
    granularity: Granularity = "kernel",
    strategy: Strategy | None = None,
    one_hot: bool = False,
) -> Float[Tensor, "b o h2 w2"]:
    r"""Return every sample convolved with its own mixture of a bank of kernels: [B, O, H', W'].

    .. math:: y_b = \Big(\sum_k a_{bk} W_k\Big) * x_b + \beta_b

    Args:
        x: images [B, C, H, W].
        bank: kernels [K, O, C/groups, k, k].
        gates: [B, K]; [B, K, O] with granularity "filter", which scales each filter of a kernel; [B, K, C] with "channel",
            which scales each input channel; [B, K, k k] with "tap", which scales each position. A first axis of 1 is one mixture
            shared by the batch: a plain convolution.
        bias: [O], or [B, O] where each sample has its own.
        geometry: padding, stride, dilation, groups, padding mode, fused resampling.
        granularity: what one gate scales.
        strategy: a name of the table above, or None to choose by shape (:func:`choose_strategy`).
        one_hot: promise that each sample has at most one gate other than zero, which allows "bucketed" without gradients.

    Raises:
        ValueError: for gates that do not fit x and bank, or a strategy that does not support this granularity or geometry.

    """
    kernel_size = (bank.shape[3], bank.shape[4])
    geometry.check(kernel_size)
    check_choice("granularity", granularity, Granularity)
    _check_gates(x, bank, gates, granularity, geometry)
    if kernel_size == (1, 1) and geometry.resample != "none":
        plain = geometry.without_resampling()

        def conv1x1(low: Tensor) -> Tensor:
            return per_sample_conv2d(low, bank, gates, bias, geometry=plain, granularity=granularity, strategy=strategy, one_hot=one_hot)

        return at_low_resolution(conv1x1, x, geometry.resample)
    rows = bias[None] if bias is not None and bias.ndim == 1 else bias
    if gates.shape[0] == 1 and strategy is None:
        return _shared(x, bank, gates, rows, granularity, geometry)
    if strategy is None:
        wants_gradient = torch.is_grad_enabled() and any(t.requires_grad for t in (x, bank, gates))
        strategy = choose_strategy(
            batch=None if torch.compiler.is_exporting() else x.shape[0],
            height=x.shape[2],
            width=x.shape[3],
            bank_shape=(bank.shape[0], bank.shape[1], bank.shape[2], bank.shape[3], bank.shape[4]),
            geometry=geometry,
            granularity=granularity,
            one_hot=one_hot and not wants_gradient,
            threshold=fallback_threshold(x.device.type, compute_dtype(x)),
        )
    if strategy not in ADMISSIBLE[granularity]:
        raise ValueError(f"strategy {strategy!r} does not support gates per {granularity}: use one of {', '.join(ADMISSIBLE[granularity])}")
    y = _RUN[strategy](x, bank, gates.expand(x.shape[0], *gates.shape[1:]), rows, granularity, geometry)
    if x.device.type == "cpu" and x.is_contiguous(memory_format=torch.channels_last) and not torch.compiler.is_compiling():
        return y.contiguous(memory_format=torch.channels_last)  # norms and activations are faster in it, forward and backward
    return y


def _check_gates(x: Tensor, bank: Tensor, gates: Tensor, granularity: Granularity, geometry: Geometry) -> None:
    channels = bank.shape[2] * geometry.groups
    if x.shape[1] != channels:
        raise ValueError(f"the bank takes {channels} input channels, but the input has {x.shape[1]}")
    extra = {"kernel": (), "filter": (bank.shape[1],), "channel": (channels,), "tap": (bank.shape[3] * bank.shape[4],)}[granularity]
    if gates.shape[1:] != (bank.shape[0], *extra) or gates.shape[0] not in (1, x.shape[0]):
        wanted = [x.shape[0], bank.shape[0], *extra]
        raise ValueError(f"gates per {granularity} must have shape {wanted} (or 1 instead of {x.shape[0]}), not {list(gates.shape)}")


# ---- choosing ------------------------------------------------------------------------------------------------------


def choose_strategy(
    *,
    batch: int | None,
    height: int,
    width: int,
    bank_shape: tuple[int, int, int, int, int],
    geometry: Geometry,
    granularity: Granularity = "kernel",
    one_hot: bool = False,
    threshold: float,
) -> Strategy:
    """Return the strategy for an image size and a bank [K, O, C/groups, k, k]; a function of shapes alone.

    Mixing kernels writes and reads B M elements for S positions of work each, so it pays once K S reaches ``threshold`` =
    element size x peak FLOP/s / memory bandwidth of the device. Otherwise mix inputs ("concat") or
    outputs ("wide"), whichever are fewer. S counts low-resolution positions where there is resampling, and kernels are widened for it
    only where S alone exceeds the threshold (measured, forward and backward, on an AVX-512 core: with 256 channels widened kernels take 1.8
    times as long as resampling apart at S = 16, 1.2 times at S = 64; with 64 channels 0.7 times at S = 256). ``one_hot`` means at most
    one gate per sample and no gradient wanted. ``batch`` is None where it is not known, in a network that is exported for any: a
    convolution with a group per sample has a fixed number of samples there, and is not chosen.
    """
    kernels, outputs, group_inputs, rows, columns = bank_shape
    inputs = group_inputs * geometry.groups
    out_height, out_width = geometry.output_size(height, width, (rows, columns))
    positions = min(height * width, out_height * out_width) if geometry.resample != "none" else out_height * out_width
    apart = geometry.resample in ("up", "down") and positions <= threshold
    with_mixed_kernels: Strategy = "unfused" if apart else "grouped"

    if one_hot and granularity == "kernel":
        return "bucketed"
    if granularity == "tap":
        return "bmm" if rows == columns == 1 or batch is None else with_mixed_kernels
    without_mixed_kernels: Strategy = "wide" if outputs * out_height * out_width < inputs * height * width else "concat"
    if without_mixed_kernels not in ADMISSIBLE[granularity]:
        without_mixed_kernels = "concat" if without_mixed_kernels == "wide" else "wide"
    mixing_is_cheap = kernels * positions >= threshold
    if rows == columns == 1:
        return "bmm" if mixing_is_cheap else without_mixed_kernels
    if outputs <= FEW_OUTPUTS and "wide" in ADMISSIBLE[granularity]:
        return "wide"
    return without_mixed_kernels if batch is None or not mixing_is_cheap else with_mixed_kernels


def forms_of_bank(granularity: Granularity, geometry: Geometry, *, strategy: Strategy | None) -> tuple[Strategy, ...]:
    """Return the strategies that a measurement may choose from; none where ``strategy`` is given."""
    differs = geometry.resample in ("up", "down")
    return () if strategy else tuple(one for one in ADMISSIBLE[granularity] if one != "bucketed" and (differs or one != "unfused"))


def fallback_threshold(device_type: str, dtype: torch.dtype) -> float:
    """Return the order of magnitude of element size x FLOP/s / bandwidth: 600 on a GPU in half precision, 100 in float32, 64 on a CPU.

    64 is what an AVX-512 core measures (forward and backward, a bank of 4, images of 4 x 4): with 256 channels mixing kernels takes 0.6 of
    the time of the other forms, with 64 as long.
    """
    if device_type == "cuda":
        return 600.0 if dtype.itemsize == 2 else 100.0
    return 64.0


def compute_dtype(x: Tensor) -> torch.dtype:
    """Return the type a convolution of x runs in: autocast's where it is on."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) and x.dtype == torch.float32 else x.dtype


# ---- mixing kernels ------------------------------------------------------------------------------------------------


def _shared(x: Tensor, bank: Tensor, gates: Tensor, bias: Tensor | None, granularity: Granularity, geometry: Geometry) -> Tensor:
    weight = mix_kernels(bank, gates, granularity, geometry.groups)[0]
    if bias is None or bias.shape[0] == 1:
        return geometry.conv(x, weight, None if bias is None else bias[0])
    return _plus(geometry.conv(x, weight), bias)


def _plus(y: Tensor, bias: Tensor | None) -> Tensor:
    """Add a bias [B, O] in the type of y, which differs from the bias's under autocast."""
    return y if bias is None else y + bias.to(y.dtype)[:, :, None, None]


def _grouped(x: Tensor, bank: Tensor, gates: Tensor, bias: Tensor | None, granularity: Granularity, geometry: Geometry) -> Tensor:
    batch, outputs, groups = x.shape[0], bank.shape[1], geometry.groups
    rows = None if bias is None else bias.expand(batch, outputs)
    widened = geometry.resample in ("up", "down")
    if torch.compiler.is_compiling() or (granularity == "tap" and widened):  # what one tap is, widening does not keep
        weight = mix_kernels(bank, gates, granularity, groups).flatten(0, 1)
        y = geometry.conv(side_by_side(x), weight, None if rows is None else rows.reshape(-1), samples=batch)
        return y.reshape(batch, outputs, *y.shape[2:])
    transposed = geometry.resample in ("up", "transposed")
    if transposed:
        x, crop = pad_before_upsampling(x, geometry.padding[0], geometry.padding_mode)
        stride, padding = (2, 2), (crop, crop)
    else:
        x, padding = pad(x, geometry.padding, geometry.padding_mode)
        stride = (2, 2) if geometry.resample == "down" else geometry.stride
    dtype = compute_dtype(x)
    form = Form(stride, padding, geometry.dilation, transposed, granularity, apart=separately(x, bank, geometry), dtype=dtype)
    kernels, factors = arranged(bank, form.order, groups, geometry.resample), spread(gates, granularity, bank, groups)
    return convolve(x.to(dtype), kernels, factors, None if rows is None else rows.to(dtype), form)


def separately(x: Tensor, bank: Tensor, geometry: Geometry) -> bool:
    """Return whether each sample has a convolution of its own instead of a group of one convolution: on CPUs, if its work is large.

    The maps of one convolution with B groups are copied from channels_last, in which they follow each other, and back; the copies cost
    as much as the convolution of 64 channels at 32 px. A decision by shapes alone: results do not depend on a measurement.
    """
    if x.device.type != "cpu" or torch.compiler.is_compiling():  # an exported graph has any batch size
        return False
    kernel_size = (bank.shape[3], bank.shape[4])
    rows, columns = geometry.output_size(x.shape[2], x.shape[3], kernel_size)
    taps, positions = taps_and_positions(kernel_size, geometry.resample, x.new_empty(()).expand(1, 1, rows, columns))
    if x[0].numel() <= ONEDNN_ELEMENTS and taps <= 9:
        return False
    return bank[0, :, :, 0, 0].numel() * taps * positions >= SEPARATE_WORK


def _unfused(x: Tensor, bank: Tensor, gates: Tensor, bias: Tensor | None, granularity: Granularity, geometry: Geometry) -> Tensor:
    if geometry.resample not in ("up", "down"):
        return _grouped(x, bank, gates, bias, granularity, geometry)
    x = F.interpolate(x, scale_factor=2.0, mode="nearest") if geometry.resample == "up" else x
    y = _grouped(x, bank, gates, bias, granularity, geometry.without_resampling())
    return F.avg_pool2d(y, 2) if geometry.resample == "down" else y


def _bmm(x: Tensor, bank: Tensor, gates: Tensor, bias: Tensor | None, granularity: Granularity, geometry: Geometry) -> Tensor:
    batch, outputs, groups = x.shape[0], bank.shape[1], geometry.groups
    kernel_size = (bank.shape[3], bank.shape[4])
    size = geometry.output_size(x.shape[2], x.shape[3], kernel_size)
    weight = fused_kernel(mix_kernels(bank, gates, granularity, groups), geometry.resample).to(x.dtype)
    if geometry.resample in ("up", "transposed"):
        # A transposed convolution is a product followed by the adjoint of unfold.
        x, crop = pad_before_upsampling(x, geometry.padding[0], geometry.padding_mode)
        weight = rearrange(weight, "b (g o) i h w -> (b g) (o h w) i", g=groups)
        pixels = x.reshape(batch * groups, bank.shape[2], -1)
        columns = torch.bmm(weight, pixels).view(batch, -1, pixels.shape[2])
        y = F.fold(columns, size, fused_side(kernel_size[0], geometry.resample), padding=crop, stride=2)
        return _plus(y, bias)
    columns = _columns(x, kernel_size, geometry).view(batch * groups, bank.shape[2] * weight[0, 0, 0].numel(), -1)
    weight = weight.reshape(batch * groups, outputs // groups, -1)
    if bias is None:
        return torch.bmm(weight, columns).view(batch, outputs, *size)
    start = bias.to(x.dtype).expand(batch, outputs).reshape(batch * groups, -1, 1)
    return torch.baddbmm(start, weight, columns).view(batch, outputs, *size)


def _columns(x: Tensor, kernel_size: tuple[int, int], geometry: Geometry) -> Tensor:
    """Return the pixels under each tap, [B, C k^2, positions]; for 1x1 kernels no copy is made."""
    x, padding = pad(x, geometry.padding, geometry.padding_mode)
    if geometry.resample == "down":
        return F.unfold(x, kernel_size[0] + 1, padding=padding, stride=2)
    if kernel_size == (1, 1) and padding == (0, 0):
        return x[:, :, :: geometry.stride[0], :: geometry.stride[1]].flatten(2)
    return F.unfold(x, kernel_size, geometry.dilation, padding, geometry.stride)


# ---- mixing outputs or inputs --------------------------------------------------------------------------------------


def _wide(x: Tensor, bank: Tensor, gates: Tensor, bias: Tensor | None, granularity: Granularity, geometry: Geometry) -> Tensor:
    kernels, outputs, groups = bank.shape[0], bank.shape[1], geometry.groups
    weight = rearrange(bank, "k (g o) i h w -> (g k o) i h w", g=groups)
    every = geometry.conv(x, weight)
    batch, size = x.shape[0], every.shape[2:]
    every = every.reshape(batch, groups, kernels, outputs // groups, -1)
    gates = gates.to(every.dtype)
    if granularity == "kernel":
        y = torch.einsum("bk,bgkos->bgos", gates, every)
    else:
        y = torch.einsum("bkgo,bgkos->bgos", gates.view(batch, kernels, groups, -1), every)
    y = y.reshape(batch, outputs, *size)
    return _plus(y, bias)


def _concat(x: Tensor, bank: Tensor, gates: Tensor, bias: Tensor | None, granularity: Granularity, geometry: Geometry) -> Tensor:
    groups = geometry.groups
    by_group = rearrange(x, "b (g i) h w -> b g 1 i h w", g=groups)
    gates = gates.to(x.dtype)
    if granularity == "kernel":
        scale = rearrange(gates, "b k -> b 1 k 1 1 1")
    else:
        scale = rearrange(gates, "b k (g i) -> b g k i 1 1", g=groups)
    copies = (by_group * scale).flatten(1, 3)
    weight = rearrange(bank, "k o i h w -> o (k i) h w")
    if bias is None or bias.shape[0] == 1:
        return geometry.conv(copies, weight, None if bias is None else bias[0])
    return _plus(geometry.conv(copies, weight), bias)


def _bucketed(x: Tensor, bank: Tensor, gates: Tensor, bias: Tensor | None, granularity: Granularity, geometry: Geometry) -> Tensor:
    if torch.is_grad_enabled() and gates.requires_grad:
        raise ValueError("strategy 'bucketed' computes no gradient of the gates of other kernels: run it under torch.no_grad()")
    if bool(((gates != 0).sum(1) > 1).any()):
        raise ValueError("strategy 'bucketed' needs at most one gate other than zero in each sample")
    chosen = gates.abs().argmax(1)
    order = chosen.argsort(stable=True)
    sizes = torch.bincount(chosen, minlength=bank.shape[0]).tolist()
    buckets = zip(torch.split(x[order], sizes), bank, strict=True)
    y = torch.cat([geometry.conv(samples, weight) for samples, weight in buckets if samples.shape[0]])[order.argsort()]
    y = y * gates.gather(1, chosen[:, None])[:, :, None, None].to(y.dtype)
    return _plus(y, bias)


_RUN: dict[Strategy, Callable[[Tensor, Tensor, Tensor, Tensor | None, Granularity, Geometry], Tensor]] = {
    "grouped": _grouped,
    "unfused": _unfused,
    "bmm": _bmm,
    "wide": _wide,
    "concat": _concat,
    "bucketed": _bucketed,
}
