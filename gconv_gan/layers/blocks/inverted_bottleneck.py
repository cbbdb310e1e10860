"""Inverted bottlenecks: expand by a 1×1, filter by a depthwise convolution, attend, project by a linear 1×1.

Sandler et al., "MobileNetV2", CVPR 2018 (arXiv 1801.04381), section 3.3; Howard et al., "Searching for MobileNetV3", ICCV 2019
(arXiv 1905.02244), figure 4.
"""

from collections import OrderedDict
from dataclasses import replace
from functools import partial

from torch import nn

from gconv_gan.layers.blocks.block_parts import STANDARD, AttentionConstructor, Parts
from gconv_gan.layers.blocks.squeeze_excite import SqueezeExcite


def scaled_channels(channels: int | float, *, width: int | float = 1, divisor: int) -> int:
    """Return the multiple of ``divisor`` nearest to w = ``width``·``channels``, at least ``divisor`` and at least 0.9 w."""
    exact = width * channels
    rounded = max(divisor, int(exact + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * exact else rounded


def mobile_attention(channels: int, *, divisor: int) -> SqueezeExcite:
    """Return the squeeze-and-excitation of MobileNetV3 (divisor 8) and GhostNet (4): a quarter of the channels, a hard sigmoid."""
    return SqueezeExcite(channels, scaled_channels(channels, width=0.25, divisor=divisor), gate=nn.Hardsigmoid)


def inverted_bottleneck(
    in_channels: int,
    mid_channels: int,
    out_channels: int,
    kernel_size: int = 3,
    *,
    stride: int = 1,
    groups: int = 1,
    attention: AttentionConstructor | None = None,
    parts: Parts = STANDARD,
) -> nn.Sequential:
    """Return expand, depthwise, attention, project: a residual branch without its shortcut.

    Args:
        in_channels: of the input.
        mid_channels: of the depthwise convolution; there is no expansion where it equals ``in_channels``.
        out_channels: of the result.
        kernel_size: of the depthwise convolution.
        stride: of the depthwise convolution.
        groups: of the two 1×1 convolutions.
        attention: ``attention(mid_channels)``; None: none.
        parts: convolution of the 1×1s, norm and activation.

    """
    steps: OrderedDict[str, nn.Module] = OrderedDict()
    if mid_channels != in_channels:
        steps["expand"] = parts.unit(in_channels, mid_channels, 1, groups=groups)
    depthwise = replace(parts, conv=nn.Conv2d)
    steps["depthwise"] = depthwise.unit(mid_channels, mid_channels, kernel_size, stride=stride, groups=mid_channels)
    if attention is not None:
        steps["attention"] = attention(mid_channels)
    steps["project"] = parts.unit(mid_channels, out_channels, 1, groups=groups, activate=False)
    return nn.Sequential(steps)


MOBILENET_V3_ATTENTION: AttentionConstructor = partial(mobile_attention, divisor=8)
GHOSTNET_ATTENTION: AttentionConstructor = partial(mobile_attention, divisor=4)
