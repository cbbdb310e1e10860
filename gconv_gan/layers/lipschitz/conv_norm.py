r"""Convolutional normalisation: every output channel is filtered so that its convolution has a flat spectrum.

Paper: Liu, Li, Zhai, You, Zhu, Fernandez-Granda, Qu, "Convolutional Normalization: Improving Deep Convolutional Network
Robustness and Training", NeurIPS 2021, arXiv 2103.00673. Where this differs from the authors' code: the spectra are always
those of the current weights, in training and evaluation alike (no running average, no buffers); epsilon is relative; the bias
is added after the filter; the learned depthwise convolution and the batch normalisation are off by default.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Annotated, Literal, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from gconv_gan.config.hints import check_choice
from gconv_gan.config.schema import Fixed
from gconv_gan.layers.lipschitz.circular import Window, kernel_spectrum, power_spectrum, zero_phase_filter
from gconv_gan.layers.lipschitz.convolution_norms import gram_norm
from gconv_gan.layers.norms.batch_norm import BatchNorm2d
from gconv_gan.layers.resample import PaddingMode, Pair, Resample, ResampledConv2d
from gconv_gan.layers.slicing import Axis, Slice, Sliceable, Tie, grouped_ties, ordinary_conv, resized, slices
from gconv_gan.runtime.precision import float32_arithmetic

Scale = Literal["none", "sqrt_out", "exact"]
EPS = 1e-4  # relative to the spectrum's peak; the authors' first version added the same absolute number
FLOOR = 1e-24  # an all-zero channel has no peak
GRAM_ITERATIONS = 5
SPECTRUM_ELEMENTS = 1 << 24
"""Largest number of complex entries of a spectrum in one batch of norm computations."""

CacheKey = tuple["ConvNorm2d", tuple[int, int], torch.dtype, torch.device, bool]
_cache: ContextVar[dict[CacheKey, Tensor] | None] = ContextVar("conv_norm_spectra", default=None)


@contextmanager
def cached_spectra() -> Iterator[None]:
    """Within the scope, compute the spectra of each ``ConvNorm2d`` once per map size, dtype and device.

    One scope spans the forward passes between two optimiser steps, such as D on reals and on fakes: weights must not change
    inside, which the cache does not detect. Nested scopes share the cache of the outermost. Spectra through which a gradient flows
    (``detach=False``) are never cached.
    """
    if _cache.get() is not None:
        yield
        return
    token = _cache.set({})
    try:
        yield
    finally:
        _cache.reset(token)


class ConvNorm2d(Sliceable, nn.Conv2d):
    r"""A ``Conv2d`` whose output channels are normalised in the Fourier domain (arXiv 2103.00673).

    .. math::
        Z = A * X, \qquad \tilde Z_c = F^{-1}\big( V_c \odot F Z_c \big), \qquad
        V_c(\omega) = \Big( S_c + \varepsilon \max_\omega S_c \Big)^{-1/2}, \quad S_c = \sum_i |\hat A_{c,i}(\omega)|^2

    Z is the convolution with full padding k-1 on H' = H+k-1 rows and W' = W+k-1 columns, and F the DFT on that grid. Crop to
    Conv2d's size, subsample by the stride, add the bias. A 1 x 1 kernel has a flat spectrum: its rows are divided by their norm.

    Lipschitz bounds (without ``affine`` and ``bn``): each output channel has norm at most 1, the layer at most
    :math:`\sqrt{O/\text{groups}}`; it is *not* 1-Lipschitz unless ``scale`` divides by that root or by the larger norm of
    diag(V) :math:`\hat A` over the frequencies. The layer ignores the scale of each filter, so spectral normalisation of the
    same weight does nothing and is refused.

    Shapes: ``weight`` [O, I/groups, k, k]; input [B, I, H, W]; output as Conv2d's, doubled or halved by ``resample``. The state
    dict is ``Conv2d``'s unless ``affine`` or ``bn`` is on. V spans the whole map: a trained layer cannot be folded into a kernel.

    Cost: about that of a stride-1 convolution and two Fourier transforms of its output, whatever the stride.
    ``scale="exact"`` adds products of O x I matrices at every frequency: use it within ``cached_spectra``.

    Args:
        affine: Add the learned depthwise filter, a k x k convolution with bias after the layer; the paper's classifiers have it.
        bn: Add batch normalisation last (``BatchNorm2d``, over the batch of all processes), with learned scale and shift where
            ``affine``; the paper's classifiers have it.
        eps: relative to the peak of each spectrum; keeps kernels with spectral zeros finite and only lowers norms.
        detach: Treat the preconditioner (V) as a constant in the backward pass, as the official code does. With False the gradient of each
            filter is orthogonal to it, as for any scale-invariant layer.
        scale: Divide further so that the layer is 1-Lipschitz: by √out_channels, or by its exact norm.
        resample: "up" doubles the map (nearest) before, "down" averages 2 x 2 blocks after the convolution.

    Raises:
        ValueError: for an unknown ``scale`` or ``resample``, dilation, padding by other than zeros or beyond k-1, an even kernel with
            ``affine``, a stride together with ``resample``; in ``forward`` if ``weight`` is spectrally normalised.

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
        affine: bool = False,
        bn: bool = False,
        eps: Annotated[float, Fixed] = EPS,
        detach: bool = True,
        scale: Scale = "none",
        resample: Resample = "none",
    ) -> None:
        check_choice("padding_mode", padding_mode, PaddingMode)
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype)
        _check_convolution(self, affine=affine, resample=resample, scale=scale)
        self.resample: Resample = resample
        self._normalise(affine=affine, bn=bn, eps=eps, detach=detach, scale=scale)

    def _normalise(self, *, affine: bool, bn: bool, eps: float, detach: bool, scale: Scale) -> None:
        self.eps, self.detach, self.scale = eps, detach, scale
        out, (kh, kw) = self.out_channels, self.kernel_size
        self.bound = math.sqrt(out / self.groups)  # it stays when channels are removed: the layer remains 1-Lipschitz
        self.affine = nn.Conv2d(out, out, (kh, kw), padding=(kh // 2, kw // 2), groups=out) if affine else nn.Identity()
        self.bn = BatchNorm2d(out, affine=affine) if bn else nn.Identity()
        for extra in (self.affine, self.bn):
            extra.to(self.weight.device, self.weight.dtype).train(self.training)

    def sizes(self) -> Mapping[Axis, int]:
        """See ``Sliceable``."""
        return {"inputs": self.in_channels, "outputs": self.out_channels}

    def slices(self, axis: Axis) -> Iterator[Slice]:
        """See ``Sliceable``."""
        if axis == "outputs":
            yield Slice(self, "weight", 0)
            if self.bias is not None:
                yield Slice(self, "bias")
            yield from slices(self.affine, axis)
            yield from slices(self.bn, axis)
        elif self.groups == 1:
            yield Slice(self, "weight", 1, reads=True)

    def resized(self, axis: Axis, count: int) -> None:
        """See ``Sliceable``."""
        if axis == "inputs":
            self.in_channels = count
            return
        self.groups = self.groups * count // self.out_channels if self.groups > 1 else 1
        self.out_channels = count
        for extra in (self.affine, self.bn):
            resized(extra, "outputs", count)
        resized(self.affine, "inputs", count)

    def ties(self) -> Iterable[Tie]:
        """See ``Sliceable``."""
        return grouped_ties(self.groups, self.in_channels, self.out_channels)

    def stand_in(self) -> nn.Module:
        """See ``Sliceable``."""
        size, stride = (self.kernel_size[0], self.kernel_size[1]), (self.stride[0], self.stride[1])
        return ordinary_conv(self.in_channels, self.out_channels, size, stride=stride, padding=self.padding, resample=self.resample)

    def weights(self) -> tuple[tuple[nn.Module, str], ...]:
        """Return no weights: the layer does not depend on the scale of its filters, so that normalisation of its weight has no effect."""
        return ()

    def spectral_gain(self, grid: tuple[int, int], dtype: torch.dtype = torch.float32) -> Float[Tensor, "o h w"]:
        """Return V on ``grid`` (H+k-1, W+k-1), divided by what ``scale`` asks for; [O, 1, 1] where the kernel is 1 x 1."""
        grid = (1, 1) if self.kernel_size == (1, 1) else grid
        differentiable = not self.detach and self.weight.requires_grad and torch.is_grad_enabled()
        cache = None if differentiable else _cache.get()
        if cache is None:
            return self._compute_gain(grid, dtype)
        key = (self, grid, dtype, self.weight.device, torch.is_inference_mode_enabled())
        if key not in cache:
            cache[key] = self._compute_gain(grid, dtype)
        return cache[key]

    def _compute_gain(self, grid: tuple[int, int], dtype: torch.dtype) -> Tensor:
        weight = self.weight.detach() if self.detach else self.weight
        with float32_arithmetic(weight.device):
            gain = power_spectrum(weight, grid, at_least=FLOOR)
            if grid != (1, 1):  # a flat spectrum has no zeros
                gain = torch.add(gain, gain.amax((1, 2), keepdim=True), alpha=self.eps)
            gain = gain.rsqrt()
            if self.scale == "sqrt_out":
                gain = gain / self.bound
            elif self.scale == "exact":
                gain = gain / _norm_bound(weight, gain, self.groups, dtype)
            return gain.to(dtype)

    def forward(self, x: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o h2 w2"]:
        if has_spectral_norm(self):
            raise ValueError("spectral_norm does nothing on the weight of a ConvNorm2d, which ignores each filter's scale: use one of them")
        pointwise = self.kernel_size == (1, 1)  # commutes with resampling, so it runs at the low resolution
        if self.resample == "down" and pointwise:
            x = F.avg_pool2d(x, 2)
        if self.resample == "up" and not pointwise:
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        y = self._pointwise(x) if pointwise else self._filtered(x)
        y = y.contiguous() if self.bias is None else y + self.bias.to(y.dtype)[:, None, None]
        if self.resample == "up" and pointwise:
            y = F.interpolate(y, scale_factor=2.0, mode="nearest")
        normalised: Tensor = self.bn(self.affine(y))
        return normalised

    def _pointwise(self, x: Tensor) -> Tensor:
        precision = torch.promote_types(self.weight.dtype, torch.float32)
        weight = self.weight * self.spectral_gain((1, 1), precision)[..., None]
        return F.conv2d(x, weight.to(self.weight.dtype), None, self.stride, 0, 1, self.groups)

    def _filtered(self, x: Tensor) -> Tensor:
        kh, kw = self.kernel_size
        z = F.conv2d(x, self.weight, None, 1, (kh - 1, kw - 1), 1, self.groups)
        precision = torch.promote_types(z.dtype, torch.float32)  # half-precision transforms of such sizes do not exist
        gain = self.spectral_gain((z.shape[2], z.shape[3]), precision)
        margin = kh - 1 - cast(int, self.padding[0]), kw - 1 - cast(int, self.padding[1])
        filtered = zero_phase_filter(z.to(precision), gain, Window(margin, pool=self.resample == "down"))
        return filtered[:, :, :: self.stride[0], :: self.stride[1]].to(z.dtype)

    def extra_repr(self) -> str:
        text: str = super().extra_repr()  # type: ignore[no-untyped-call]
        return f"{text}, eps={self.eps}, detach={self.detach}, scale={self.scale!r}, resample={self.resample!r}"


def conv_norm(
    module: nn.Module,
    name: str = "weight",
    *,
    eps: float = EPS,
    affine: bool = False,
    bn: bool = False,
    detach: bool = True,
    scale: Scale = "none",
) -> ConvNorm2d:
    """Turn a convolution into a :class:`ConvNorm2d` in place, keeping its parameters, hooks and resampling, and return it.

    It is called as ``torch.nn.utils.parametrizations.spectral_norm`` is, for ``nn.Conv2d`` and ``ResampledConv2d``.

    Raises:
        ValueError: for any other module, a ``name`` other than "weight", and whatever ``ConvNorm2d`` refuses.

    """
    if has_spectral_norm(module):
        raise ValueError("conv_norm cannot be applied to a spectrally normalised convolution: remove spectral_norm first")
    if not isinstance(module, nn.Conv2d) or type(module) not in (nn.Conv2d, ResampledConv2d):
        raise ValueError(f"conv_norm converts nn.Conv2d and ResampledConv2d, not {type(module).__name__}")
    if name != "weight":
        raise ValueError(f"conv_norm normalises the convolution by its 'weight'; it cannot use {name!r}")
    resample = cast(Resample, getattr(module, "resample", "none"))
    _check_convolution(module, affine=affine, resample=resample, scale=scale)
    module.__class__ = ConvNorm2d
    converted: ConvNorm2d = cast(ConvNorm2d, module)
    converted.resample = resample
    converted._normalise(affine=affine, bn=bn, eps=eps, detach=detach, scale=scale)
    return converted


def remove_conv_norm(module: nn.Module) -> nn.Conv2d:
    """Turn a :class:`ConvNorm2d` back into a plain convolution in place, with the same raw ``weight``, and return it.

    The filter spans the whole map and cannot be folded into the kernel, so the function of the layer changes; the learned
    depthwise convolution and the batch normalisation are dropped.

    Raises:
        ValueError: if ``module`` is no ``ConvNorm2d``.

    """
    if not isinstance(module, ConvNorm2d):
        raise ValueError(f"remove_conv_norm expects a ConvNorm2d, not {type(module).__name__}")
    for name in ("affine", "bn", "eps", "detach", "scale", "bound"):
        delattr(module, name)
    plain = cast(nn.Conv2d, module)
    plain.__class__ = nn.Conv2d if module.resample == "none" else ResampledConv2d
    return plain


def has_spectral_norm(module: nn.Module) -> bool:
    """Return whether ``module.weight`` is spectrally normalised, by torch's parametrisation or its older hook."""
    if parametrize.is_parametrized(module, "weight"):
        chain = cast(nn.ModuleDict, module.parametrizations)["weight"]
        return any(isinstance(step, parametrizations._SpectralNorm) for step in chain.children())
    return "weight_orig" in module._parameters and "weight_u" in module._buffers


def _check_convolution(conv: nn.Conv2d, *, affine: bool, resample: Resample, scale: Scale) -> None:
    check_choice("resample", resample, Resample)
    check_choice("scale", scale, Scale)
    if conv.dilation != (1, 1):
        raise ValueError(f"ConvNorm2d needs dilation 1, not {conv.dilation}: its grid is that of an undilated kernel")
    if conv.padding_mode != "zeros":
        raise ValueError(f"ConvNorm2d pads with zeros: its filter is defined for them alone, not for padding_mode={conv.padding_mode!r}")
    if isinstance(conv.padding, str):
        raise ValueError(f"ConvNorm2d needs padding in pixels, not {conv.padding!r}")
    if any(p > k - 1 for p, k in zip(conv.padding, conv.kernel_size, strict=True)):
        raise ValueError(f"ConvNorm2d crops a convolution padded by k-1: padding {conv.padding} exceeds it for kernel {conv.kernel_size}")
    if affine and any(k % 2 == 0 for k in conv.kernel_size):
        raise ValueError(f"the depthwise convolution of affine=True would change the size of the map: kernel {conv.kernel_size} is even")
    if resample == "transposed":
        raise ValueError("ConvNorm2d normalises a convolution's output on its own grid: no transposed convolution is defined")
    if resample != "none" and conv.stride != (1, 1):
        raise ValueError(f"resample={resample!r} needs stride 1, not {conv.stride}")


def _norm_bound(weight: Tensor, gain: Tensor, groups: int, dtype: torch.dtype) -> Tensor:
    """Return an upper bound, by Gram iteration, of the largest norm of diag(V) A^ over groups and frequencies."""
    return torch.stack([gram_norm(matrices, GRAM_ITERATIONS).max() for matrices in filtered_spectrum(weight, gain, groups, dtype)]).max()


def filtered_spectrum(
    weight: Float[Tensor, "o i kh kw"], gain: Float[Tensor, "o h w"], groups: int, dtype: torch.dtype
) -> Iterator[Tensor]:
    """Yield, for each group, the matrices diag(V) A^ [rows, w//2+1, O/groups, I/groups] of a half spectrum, in batches of few rows."""
    grid = (gain.shape[1], gain.shape[2])
    for kernel, scale in zip(weight.to(dtype).chunk(groups), gain.to(dtype).chunk(groups), strict=True):
        spectrum = kernel_spectrum(kernel, grid)
        rows = max(1, SPECTRUM_ELEMENTS // spectrum[0].numel())
        for some, factors in zip(torch.split(spectrum, rows), torch.split(scale.permute(1, 2, 0), rows), strict=True):
            yield some * factors[:, : some.shape[1], :, None]
