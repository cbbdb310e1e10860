"""A convolution with a gated dictionary of filters, combined by a matrix: GConv's cheap form.

The kernel of sample b is W_b = Mix diag(g_b) D, which is never built: D * x is one ordinary convolution for the whole batch,
and the gates multiply the matrix instead of the feature maps:

    y_b = (Mix diag(g_b)) (D * x_b)

is one batched product of [O, N] with [N, S]. Compared with gates on the maps, forward and backward together save two
passes over the maps and one stored copy of N S numbers per sample. On a CPU, where a 1x1 convolution with one matrix for all samples
takes half of the time of a batched product, the gates multiply the maps.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gconv_gan.layers.dynamic.per_sample_conv import PLAIN, Geometry
from gconv_gan.layers.resample import at_low_resolution, fused_side


def dictionary_conv2d(
    x: Float[Tensor, "b c h w"],
    dictionary: Float[Tensor, "n i kh kw"],
    mix: Float[Tensor, "o n"],
    gates: Float[Tensor, "m n"],
    bias: Float[Tensor, " o"] | None = None,
    *,
    filter_bias: Float[Tensor, " n"] | None = None,
    geometry: Geometry = PLAIN,
) -> Float[Tensor, "b o h2 w2"]:
    r"""Return x filtered with a dictionary, the N results gated per sample and combined: [B, O, H', W'].

    .. math:: y_b = \mathrm{Mix}\,\big(g_b \odot (D * x_b + \beta_D)\big) + \beta

    Args:
        x: images [B, C, H, W].
        dictionary: N filters D [N, C/groups, k, k].
        mix: [O, N].
        gates: [B, N], or [1, N] shared by the batch.
        bias: :math:`\beta` [O].
        filter_bias: :math:`\beta_D` [N], gated like the filters: the bias becomes a function of the gates.
        geometry: padding, stride, dilation, groups, padding mode, fused resampling; they belong to D.

    Raises:
        ValueError: for gates of another batch size than x, or resampling that cannot be fused.

    """
    kernel_size = (dictionary.shape[2], dictionary.shape[3])
    geometry.check(kernel_size)
    if gates.shape[0] not in (1, x.shape[0]):
        raise ValueError(f"gates of {gates.shape[0]} samples do not fit {x.shape[0]} images")
    if kernel_size == (1, 1) and geometry.resample != "none":
        resample, geometry = geometry.resample, geometry.without_resampling()
        return at_low_resolution(lambda low: _gated(low, dictionary, mix, gates, bias, filter_bias, geometry), x, resample)
    return _gated(x, dictionary, mix, gates, bias, filter_bias, geometry)


def _gated(
    x: Tensor, dictionary: Tensor, mix: Tensor, gates: Tensor, bias: Tensor | None, filter_bias: Tensor | None, geometry: Geometry
) -> Tensor:
    dtype = torch.promote_types(mix.dtype, torch.float32)
    gated_mix = mix.to(dtype) * gates.to(dtype)[:, None, :]
    if gates.shape[0] == 1 and not torch.is_grad_enabled() and folding_pays(x.shape, dictionary.shape, mix.shape[0], geometry):
        return _folded(x, dictionary, gated_mix[0], bias, filter_bias, geometry)
    filtered = geometry.conv(x, dictionary, filter_bias)
    if gates.shape[0] == 1:
        return F.conv2d(filtered, gated_mix[0].to(filtered.dtype)[:, :, None, None], bias)
    if x.device.type == "cpu" and filtered.dtype == dtype:  # in half precision the gated maps would be rounded once more
        return F.conv2d(filtered * gates.to(dtype)[:, :, None, None], mix.to(dtype)[:, :, None, None], bias)
    return multiply(gated_mix.to(filtered.dtype), filtered, bias)


def multiply(gated_mix: Tensor, filtered: Tensor, bias: Tensor | None) -> Tensor:
    """Return the products [O, N] [N, S] of all samples, in the memory format of the filtered maps."""
    batch, outputs = gated_mix.shape[:2]
    height, width = filtered.shape[2:]
    if filtered.is_contiguous(memory_format=torch.channels_last) and not filtered.is_contiguous():
        pixels = filtered.permute(0, 2, 3, 1).flatten(1, 2)
        y = _affine(bias, pixels, gated_mix.transpose(1, 2))
        return y.view(batch, height, width, outputs).permute(0, 3, 1, 2)
    return _affine(None if bias is None else bias[:, None], gated_mix, filtered.flatten(2)).view(batch, outputs, height, width)


def _affine(bias: Tensor | None, left: Tensor, right: Tensor) -> Tensor:
    return torch.bmm(left, right) if bias is None else torch.baddbmm(bias, left, right)


def folding_pays(x: torch.Size, dictionary: torch.Size, outputs: int, geometry: Geometry) -> bool:
    """Return whether building one kernel Mix diag(g) D for the whole batch costs fewer multiplications than mixing its maps."""
    if geometry.groups > 1:
        return False  # the folded kernel would be dense
    filters, inputs, rows, columns = dictionary
    height, width = geometry.output_size(x[2], x[3], (rows, columns))
    positions, taps = height * width, rows * columns
    if geometry.resample != "none":
        positions = min(x[2] * x[3], positions)
        taps = fused_side(rows, geometry.resample) * fused_side(columns, geometry.resample)
    per_filter = x[0] * positions * inputs * taps
    folded = outputs * filters * inputs * rows * columns + outputs * per_filter
    return folded < filters * per_filter + x[0] * height * width * outputs * filters


def _folded(
    x: Tensor, dictionary: Tensor, gated_mix: Tensor, bias: Tensor | None, filter_bias: Tensor | None, geometry: Geometry
) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):
        weight = (gated_mix @ dictionary.to(gated_mix.dtype).flatten(1)).view(-1, *dictionary.shape[1:])
        if filter_bias is not None:
            gated_bias = (gated_mix @ filter_bias.to(gated_mix.dtype)).to(filter_bias.dtype)
            bias = gated_bias if bias is None else bias + gated_bias
    return geometry.conv(x, weight, bias)
