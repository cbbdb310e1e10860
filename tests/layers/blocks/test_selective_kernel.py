"""Selective kernels against the equations of arXiv 1903.06586."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gconv_gan.layers.blocks.block_parts import Parts
from gconv_gan.layers.blocks.selective_kernel import SelectiveKernel2d
from tests.reference.randomised import randomise, x64


def branch_maps(layer: SelectiveKernel2d, x: torch.Tensor, *, stride: int, groups: int) -> list[torch.Tensor]:
    """U_m by a kernel of (2m+1)² weights with zeros inserted, no dilation."""
    maps = []
    for index, unit in enumerate(layer.branches, start=1):
        weight = unit.conv.weight
        wide = weight.new_zeros(*weight.shape[:2], 2 * index + 1, 2 * index + 1)
        wide[:, :, ::index, ::index] = weight
        maps.append(F.relu(unit.norm(F.conv2d(x, wide, None, stride, index, groups=groups))))
    return maps


@pytest.mark.parametrize(("branches", "stride", "groups"), [(2, 1, 2), (2, 2, 4), (3, 1, 1), (1, 2, 2)])
def test_split_fuse_select(branches: int, stride: int, groups: int) -> None:
    torch.manual_seed(0)
    layer = randomise(SelectiveKernel2d(4, 8, stride=stride, groups=groups, branches=branches, reduction=2, min_reduced_channels=3))
    x = x64(3, 4, 9, 8)
    maps = branch_maps(layer, x, stride=stride, groups=groups)
    s = sum(maps).mean((2, 3))
    z = F.relu(layer.norm((s @ layer.reduce.weight.flatten(1).T)[:, :, None, None]))[:, :, 0, 0]
    rows = layer.select.weight.flatten(1).view(branches, 8, -1)
    weights = torch.einsum("mcd,bd->bmc", rows, z).softmax(1)
    expected = sum(weights[:, m, :, None, None] * maps[m] for m in range(branches))
    torch.testing.assert_close(layer(x), expected)


def test_the_weights_of_the_branches_sum_to_one_per_channel_and_differ_between_channels() -> None:
    torch.manual_seed(0)
    layer = randomise(SelectiveKernel2d(4, 8, groups=2, branches=3))
    weights = layer.selection(x64(2, 8, 1, 1))
    assert weights.shape == (2, 3, 8, 1, 1)
    torch.testing.assert_close(weights.sum(1), torch.ones(2, 8, 1, 1, dtype=torch.float64))
    assert weights.std(2).min() > 1e-3


def test_equal_weights_give_the_mean_and_a_single_branch_is_unchanged() -> None:
    torch.manual_seed(0)
    x = x64(2, 4, 6, 6)
    layer = randomise(SelectiveKernel2d(4, 8, groups=2, branches=3))
    nn.init.zeros_(layer.select.weight)
    torch.testing.assert_close(layer(x), sum(branch(x) for branch in layer.branches) / 3)
    single = randomise(SelectiveKernel2d(4, 8, groups=2, branches=1))
    torch.testing.assert_close(single(x), single.branches[0](x))


def test_swapping_branches_with_their_rows_changes_nothing() -> None:
    torch.manual_seed(0)
    layer, x = randomise(SelectiveKernel2d(4, 8, groups=2)), x64(2, 4, 6, 6)
    before = layer(x)
    layer.branches = nn.ModuleList(reversed(layer.branches))
    assert not torch.allclose(layer(x), before)
    with torch.no_grad():
        layer.select.weight.copy_(layer.select.weight.view(2, 8, -1, 1, 1).flip(0).flatten(0, 1))
    torch.testing.assert_close(layer(x), before)


@pytest.mark.parametrize("branches", [1, 2, 3])
def test_extra_parameters_over_a_plain_unit(branches: int) -> None:
    channels, groups, reduced = 64, 4, 32
    layer = SelectiveKernel2d(channels, channels, groups=groups, branches=branches)
    plain = Parts().unit(channels, channels, 3, groups=groups)
    extra = sum(p.numel() for p in layer.parameters()) - sum(p.numel() for p in plain.parameters())
    m = branches
    gate = (1 + m) * channels * reduced + 2 * reduced
    assert extra == (m - 1) * 9 * channels**2 // groups + gate + 2 * (m - 1) * channels


def test_the_floor_of_the_reduced_width() -> None:
    assert SelectiveKernel2d(64, 256).reduce.out_channels == 32
    assert SelectiveKernel2d(64, 1024).reduce.out_channels == 64


def test_it_has_the_interface_of_a_convolution() -> None:
    conv = nn.Conv2d(4, 8, 5, 2, 1, 2, 2)
    layer = SelectiveKernel2d(4, 8, 5, 2, 1, 2, 2, True, parts=Parts(norm=None, activation=nn.Identity), branches=3)
    x = torch.randn(2, 4, 19, 17)
    assert layer(x).shape == conv(x).shape
    assert all(unit.conv.bias is not None for unit in layer.branches)


def test_one_image_trains_only_without_batch_statistics() -> None:
    layer, x = SelectiveKernel2d(4, 8, groups=2), torch.randn(1, 4, 6, 6)
    with pytest.raises(ValueError, match="two images per batch"):
        layer(x)
    assert layer.eval()(x).shape == (1, 8, 6, 6)
    assert SelectiveKernel2d(4, 8, groups=2, parts=Parts(norm=partial(nn.GroupNorm, 2)))(x).isfinite().all()


def test_what_it_refuses() -> None:
    with pytest.raises(ValueError, match="odd kernel_size"):
        SelectiveKernel2d(32, 32, 4)
    with pytest.raises(ValueError, match="do not divide into 32 groups"):
        SelectiveKernel2d(16, 64)
