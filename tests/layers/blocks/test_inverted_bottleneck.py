"""Inverted bottlenecks and the rounding of widths."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gconv_gan.layers.blocks.block_parts import Parts
from gconv_gan.layers.blocks.inverted_bottleneck import GHOSTNET_ATTENTION, MOBILENET_V3_ATTENTION, inverted_bottleneck, scaled_channels
from tests.reference.randomised import randomise, x64


def test_expand_filter_attend_project() -> None:
    torch.manual_seed(0)
    b = randomise(inverted_bottleneck(4, 12, 6, 5, stride=2, groups=2, attention=GHOSTNET_ATTENTION, parts=Parts(activation=nn.ELU)))
    x = x64(2, 4, 7, 6)
    h = F.elu(b.expand.norm(F.conv2d(x, b.expand.conv.weight, groups=2)))
    h = F.elu(b.depthwise.norm(F.conv2d(h, b.depthwise.conv.weight, None, 2, 2, groups=12)))
    expected = b.project.norm(F.conv2d(b.attention(h), b.project.conv.weight, groups=2))
    torch.testing.assert_close(b(x), expected)


def test_nothing_to_expand_is_not_expanded() -> None:
    assert [name for name, _ in inverted_bottleneck(8, 8, 6).named_children()] == ["depthwise", "project"]


@pytest.mark.parametrize(
    ("channels", "width", "divisor", "expected"),
    [(16, 0.5, 4, 8), (72, 0.25, 4, 20), (40, 1.3, 4, 52), (10, 1, 8, 16), (3, 1, 8, 8)],
)
def test_rounding_never_takes_more_than_a_tenth(channels: int, width: float, divisor: int, expected: int) -> None:
    assert scaled_channels(channels, width=width, divisor=divisor) == expected
    assert expected >= 0.9 * channels * width


def test_the_attentions_of_mobile_networks() -> None:
    assert MOBILENET_V3_ATTENTION(72).reduce.out_channels == 24
    assert GHOSTNET_ATTENTION(72).reduce.out_channels == 20
    assert isinstance(GHOSTNET_ATTENTION(72).gate, nn.Hardsigmoid)
