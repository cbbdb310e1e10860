"""Residual blocks against the equations of arXiv 1512.03385 and 1603.05027, in both orders."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gconv_gan.layers.blocks.block_parts import Parts
from gconv_gan.layers.blocks.residual import (
    ZeroPadShortcut,
    basic_block,
    bottleneck,
    preact_basic_block,
    preact_bottleneck,
    zero_pad_shortcut,
)
from gconv_gan.layers.blocks.squeeze_excite import SqueezeExcite
from tests.reference.randomised import randomise, x64


def conv(x: torch.Tensor, layer: nn.Conv2d, stride: int = 1, groups: int = 1) -> torch.Tensor:
    return F.conv2d(x, layer.weight, layer.bias, stride, layer.weight.shape[-1] // 2, groups=groups)


def test_a_basic_block_is_the_papers_equation() -> None:
    torch.manual_seed(0)
    block = randomise(basic_block(3, 5, stride=2, parts=Parts(attention=lambda c: SqueezeExcite(c, 2))))
    x, branch, shortcut = x64(2, 3, 6, 7), block.branch, block.shortcut
    h = F.relu(branch.unit1.norm(conv(x, branch.unit1.conv, 2)))
    h = branch.attention(branch.unit2.norm(conv(h, branch.unit2.conv)))
    torch.testing.assert_close(block(x), F.relu(h + shortcut.norm(conv(x, shortcut.conv, 2))))


def test_a_bottleneck_has_its_stride_and_groups_in_the_middle() -> None:
    torch.manual_seed(0)
    block = randomise(bottleneck(6, 8, stride=2, width_ratio=0.5, groups=2))
    x, branch, shortcut = x64(2, 6, 6, 6), block.branch, block.shortcut
    h = F.relu(branch.unit1.norm(conv(x, branch.unit1.conv)))
    h = F.relu(branch.unit2.norm(conv(h, branch.unit2.conv, 2, groups=2)))
    h = branch.unit3.norm(conv(h, branch.unit3.conv))
    torch.testing.assert_close(block(x), F.relu(h + shortcut.norm(conv(x, shortcut.conv, 2))))


def test_the_whitened_basic_block_normalises_before_every_convolution_and_ends_without_a_norm() -> None:
    torch.manual_seed(0)
    block = randomise(basic_block(3, 5, stride=2, parts=Parts(order="whitened")))
    x, (unit1, unit2), shortcut = x64(2, 3, 6, 6), block.branch, block.shortcut
    h = F.relu(conv(unit1.norm(x), unit1.conv, 2))
    expected = F.relu(conv(unit2.norm(h), unit2.conv) + conv(shortcut.norm(x), shortcut.conv, 2))
    torch.testing.assert_close(block(x), expected)
    widths = [unit.norm.num_features for unit in bottleneck(6, 8, parts=Parts(order="whitened")).branch]
    assert widths == [6, 2, 2]


def test_preactivation_blocks_project_the_activated_input_and_pass_the_raw_one() -> None:
    torch.manual_seed(0)
    for block in (preact_basic_block(4, 6), preact_basic_block(4, 4), preact_bottleneck(4, 8), preact_bottleneck(4, 4)):
        randomise(block)
        nn.init.zeros_((block.branch.conv3 if "conv3" in dict(block.branch.named_children()) else block.branch.conv2).weight)
        x = x64(2, 4, 5, 5)
        expected = x if block.projection is None else conv(F.relu(block.preactivation.norm(x)), block.projection)
        torch.testing.assert_close(block(x), expected)


def test_a_preactivation_bottleneck_is_the_papers_equation() -> None:
    torch.manual_seed(0)
    block = randomise(preact_bottleneck(4, 8, stride=2))
    x, b = x64(2, 4, 5, 5), block.branch
    a = F.relu(block.preactivation.norm(x))
    h = conv(F.relu(b.preactivation2.norm(conv(a, b.conv1))), b.conv2, 2)
    h = conv(F.relu(b.preactivation3.norm(h)), b.conv3)
    torch.testing.assert_close(block(x), h + conv(a, block.projection, 2))


def test_the_whitened_preactivation_block_rectifies_first() -> None:
    torch.manual_seed(0)
    block = randomise(preact_basic_block(4, 6, parts=Parts(order="whitened")))
    x, b = x64(2, 4, 5, 5), block.branch
    a = block.preactivation.norm(F.relu(x))
    h = conv(b.preactivation2.norm(F.relu(conv(a, b.conv1))), b.conv2)
    torch.testing.assert_close(block(x), h + conv(a, block.projection))


def test_dropout_changes_training_and_never_evaluation() -> None:
    torch.manual_seed(0)
    block, x = preact_basic_block(4, 4, dropout=0.5), torch.randn(2, 4, 5, 5)
    assert not torch.equal(block(x), block(x))
    block.eval()
    assert torch.equal(block(x), block(x))


def test_option_a_has_no_parameters_and_pads_with_zeros() -> None:
    shortcut = ZeroPadShortcut(2, 5, 2)
    x = torch.randn(1, 2, 5, 4)
    y = shortcut(x)
    assert y.shape == (1, 5, 3, 2)
    assert torch.equal(y[:, :2], x[:, :, ::2, ::2])
    assert not y[:, 2:].any()
    assert not list(shortcut.parameters())
    assert isinstance(basic_block(4, 4, shortcut=zero_pad_shortcut).shortcut, nn.Identity)
    with pytest.raises(ValueError, match="cannot go from 5 to 2"):
        ZeroPadShortcut(5, 2, 1)
