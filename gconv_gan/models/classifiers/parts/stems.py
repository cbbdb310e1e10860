"""The first layers of a classifier: images [B, 3, H, W] -> the map its stages start from, [B, width, H', W']."""

from collections import OrderedDict

from torch import nn

from gconv_gan.layers.blocks.block_parts import Parts


def imagenet_stem(width: int, parts: Parts) -> nn.Sequential:
    """Return 7×7/2 convolution, norm, activation and 3×3/2 max pooling: a quarter of the resolution (He et al. 2016)."""
    return nn.Sequential(OrderedDict(unit=parts.stem(3, width, 7, stride=2), pool=nn.MaxPool2d(3, 2, 1)))


def cifar_stem(width: int, parts: Parts) -> nn.Sequential:
    """Return 3×3 convolution, norm, activation at full resolution."""
    return parts.stem(3, width, 3)


def halving_stem(width: int, parts: Parts) -> nn.Sequential:
    """Return 3×3/2 convolution, norm, activation: half the resolution (RegNet, MobileNetV3, GhostNet)."""
    return parts.stem(3, width, 3, stride=2)


def bare_imagenet_stem(width: int, parts: Parts) -> nn.Sequential:
    """Return 7×7/2 convolution and 3×3/2 max pooling, for pre-activation blocks, which bring norm and activation."""
    return nn.Sequential(OrderedDict(conv=parts.convolution(3, width, 7, stride=2, stem=True), pool=nn.MaxPool2d(3, 2, 1)))


def bare_cifar_stem(width: int, parts: Parts) -> nn.Module:
    """Return 3×3 convolution at full resolution, for pre-activation blocks, which bring norm and activation."""
    return parts.convolution(3, width, 3, stem=True)
