"""The last layers of a trunk whose features are wider than its last stage."""

from collections import OrderedDict

from torch import nn

from gconv_gan.layers.blocks.block_parts import Parts


def expanded_features(in_channels: int, expanded: int, features: int, parts: Parts) -> "OrderedDict[str, nn.Module]":
    """Return the steps 1×1 unit, mean over positions, 1×1 convolution with bias, activation (MobileNetV3, GhostNet).

    [B, in_channels, H, W] becomes [B, expanded, H, W] and then [B, features, 1, 1]; no norm follows the last convolution.
    """
    return OrderedDict(
        expand=parts.unit(in_channels, expanded, 1),
        pool=nn.AdaptiveAvgPool2d(1),
        features=parts.convolution(expanded, features, 1, bias=True),
        activation=parts.activation(),
    )
