"""The V-cycle in channels against the equations and closed-form cost of arXiv 2011.09128."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gconv_gan.layers.blocks.multigrid import MultigridChannels2d, MultigridInvertedBottleneck, channel_levels
from tests.reference.randomised import randomise, x64


def closed_form(c: int, group: int, dense_below: int) -> tuple[int, int]:
    """Parameters of a block, and MACs per pixel."""
    levels = channel_levels(c, dense_below)
    weights, norms = 18 * levels[-1] ** 2, 4 * levels[-1]
    for fine, coarse in zip(levels[:-1], levels[1:], strict=True):
        g = max(fine // group, 1)
        weights += 2 * coarse * fine // g + 18 * fine**2 // g
        norms += 6 * fine
    return weights + norms, weights


ROWS = [(64, 16, 35_904, 35_200), (128, 16, 75_584, 74_112), (256, 16, 154_944, 151_936), (512, 16, 313_664, 307_584)]
ROWS += [(512, 8, 160_832, 154_720), (64, 32, 63_616, 62_976), (256, 32, 299_392, 296_448), (256, 64, 566_016, 563_200)]


@pytest.mark.parametrize(("c", "group", "parameters", "macs"), ROWS)
def test_cost_of_a_block(c: int, group: int, parameters: int, macs: int) -> None:
    with torch.device("meta"):
        block = MultigridChannels2d(c, c, group_size=group, dense_below=group)
    assert sum(p.numel() for p in block.parameters()) == parameters
    assert sum(p.numel() for p in block.parameters() if p.ndim == 4) == macs
    assert closed_form(c, group, group) == (parameters, macs)


def test_parameters_grow_linearly() -> None:
    ratios = [closed_form(2 * c, 16, 16)[0] / closed_form(c, 16, 16)[0] for c in (64, 128, 256)]
    assert ratios == pytest.approx([2.105, 2.050, 2.024], abs=1e-3)


@pytest.mark.parametrize(
    ("c", "dense_below", "levels"), [(64, 16, (64, 32, 16, 8)), (256, 64, (256, 128, 64, 32)), (32, 64, (32, 16)), (8, 4, (8, 4, 2))]
)
def test_levels(c: int, dense_below: int, levels: tuple[int, ...]) -> None:
    assert channel_levels(c, dense_below) == levels


def plain(block: MultigridChannels2d, x: torch.Tensor) -> torch.Tensor:
    """The equations, written out for any number of levels."""
    cycle = block.cycle

    def smooth(level: int, z: torch.Tensor) -> torch.Tensor:
        branch = cycle.smoothers[level].branch
        g = branch.unit1.conv.groups
        h = F.relu(branch.unit1.norm(F.conv2d(z, branch.unit1.conv.weight, padding=1, groups=g)))
        return F.relu(z + branch.unit2.norm(F.conv2d(h, branch.unit2.conv.weight, padding=1, groups=g)))

    def solve(level: int, x_level: torch.Tensor) -> torch.Tensor:
        if level == len(cycle.restrictions):
            return smooth(level, x_level)
        restriction, (p, norm) = cycle.restrictions[level][0], cycle.prolongations[level]
        coarse = F.conv2d(x_level, restriction.weight, groups=restriction.groups)
        correction = F.conv2d(solve(level + 1, coarse) - coarse, p.weight, groups=p.groups)
        return smooth(level, x_level + norm(correction))

    if not isinstance(block.entry, nn.Identity):
        conv = block.entry.conv
        x = F.relu(block.entry.norm(F.conv2d(x, conv.weight, None, conv.stride, 1, groups=conv.in_channels)))
    return solve(0, x)


@pytest.mark.parametrize(("inputs", "stride", "group"), [(16, 1, 4), (8, 2, 4), (16, 2, 8), (16, 1, 32)])
def test_the_equations(inputs: int, stride: int, group: int) -> None:
    torch.manual_seed(0)
    block, x = randomise(MultigridChannels2d(inputs, 16, stride=stride, group_size=group, dense_below=4)), x64(2, inputs, 6, 6)
    torch.testing.assert_close(block(x), plain(block, x))
    groups = [smoother.branch.unit1.conv.groups for smoother in block.cycle.smoothers]
    assert groups == [max(16 // group, 1), max(8 // group, 1), max(4 // group, 1), 1]


def test_without_corrections_only_the_finest_block_is_left() -> None:
    torch.manual_seed(0)
    block, x = randomise(MultigridChannels2d(16, 16, group_size=4, dense_below=4)), x64(2, 16, 6, 6)
    zero_corrections(block)
    torch.testing.assert_close(block(x), block.cycle.smoothers[0](x))


def zero_corrections(block: MultigridChannels2d) -> None:
    for _, norm in block.cycle.prolongations:
        nn.init.zeros_(norm.weight)
        nn.init.zeros_(norm.bias)


def test_the_cycle_couples_all_channels_and_its_finest_block_only_groups() -> None:
    torch.manual_seed(0)
    block = MultigridChannels2d(16, 16, group_size=4, dense_below=4).double().eval()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.abs_()
    x = torch.rand(16, 4, 4, dtype=torch.float64)

    def coupling() -> torch.Tensor:
        return torch.autograd.functional.jacobian(lambda t: block(t[None])[0].sum((1, 2)), x).abs().sum((2, 3)) > 0

    assert coupling().all()
    zero_corrections(block)
    assert torch.equal(coupling(), torch.block_diag(*[torch.ones(4, 4)] * 4).bool())


def test_transfers_start_as_averages() -> None:
    block = MultigridChannels2d(32, 32, group_size=8, dense_below=8)
    for restriction, prolongation in zip(block.cycle.restrictions, block.cycle.prolongations, strict=True):
        for transfer in (restriction[0], prolongation[0]):
            assert torch.equal(transfer.weight, torch.full_like(transfer.weight, 1 / transfer.weight.shape[1]))
    x = torch.randn(1, 32, 1, 1)
    torch.testing.assert_close(block.cycle.restrictions[0](x).view(4, 4), x.view(4, 8).mean(1, keepdim=True).expand(4, 4))


def test_the_bottleneck_form() -> None:
    block = MultigridChannels2d(16, 16, group_size=4, dense_below=8, expansion=4, dense_groups=2)
    assert block(torch.randn(2, 16, 6, 6)).shape == (2, 64, 6, 6)
    fine, _, coarse = block.cycle.smoothers
    assert [unit.conv.weight.shape for unit in fine.branch] == [(16, 16, 1, 1), (16, 4, 3, 3), (64, 4, 1, 1)]
    assert [unit.conv.weight.shape for unit in coarse.branch] == [(4, 16, 1, 1), (4, 2, 3, 3), (16, 4, 1, 1)]
    assert block.cycle.restrictions[0][0].weight.shape == (32, 16, 1, 1)


def test_forward_does_not_change_its_input() -> None:
    x = torch.randn(2, 16, 4, 4)
    MultigridChannels2d(16, 16, group_size=4, dense_below=4)(x)
    assert not x.requires_grad


def test_it_has_the_interface_of_a_convolution() -> None:
    for arguments in ((8, 16, 5, 2, 2, 1, 1, True), (16, 16, 1, 1, 0, 1, 1, False)):
        x = torch.randn(2, arguments[0], 9, 8)
        block = MultigridChannels2d(*arguments, group_size=4, dense_below=8)
        assert block(x).shape == nn.Conv2d(*arguments)(x).shape
        assert (block.bias is not None) == arguments[-1]
        assert {smoother.branch.unit1.conv.kernel_size[0] for smoother in block.cycle.smoothers} == {arguments[2]}
    block = MultigridChannels2d(8, 8, bias=True, group_size=4, dense_below=8).eval()
    x = torch.randn(2, 8, 4, 4)
    before = block(x)
    nn.init.constant_(block.bias, -1.5)
    torch.testing.assert_close(block(x), before - 1.5)


def test_refusals() -> None:
    for options in ({"kernel_size": 4}, {"padding": 0}, {"dilation": 2}, {"groups": 2}):
        with pytest.raises(ValueError, match="keeps the size of its maps and chooses its groups"):
            MultigridChannels2d(16, 16, **options)
    with pytest.raises(ValueError, match="cannot be halved"):
        MultigridChannels2d(12, 12, dense_below=2)
    with pytest.raises(ValueError, match="do not divide into the 8 groups"):
        MultigridChannels2d(24, 24, group_size=3, dense_below=16)
    with pytest.raises(ValueError, match="is not a multiple of 12"):
        MultigridChannels2d(12, 16)


def test_the_mobile_form() -> None:
    torch.manual_seed(0)
    block = randomise(MultigridInvertedBottleneck(6, 40, 16, 5, 2, activation=nn.ELU, group_size=4, dense_below=8))
    assert [smoother.branch.expand.conv.groups for smoother in block.cycle.smoothers] == [4, 2, 1]
    assert [smoother.branch.depthwise.conv.out_channels for smoother in block.cycle.smoothers] == [40, 20, 10]
    assert block.entry.weight.shape == (16, 6, 1, 1)
    x = x64(2, 6, 8, 8)
    z = F.conv2d(x, block.entry.weight, stride=2)
    maps = [z]
    for convolution, norm in block.cycle.restrictions:
        maps.append(norm(F.conv2d(maps[-1], convolution.weight, groups=convolution.groups)))
    smooth = F.relu(maps[2] + block.cycle.smoothers[2].branch(maps[2]))
    for level in (1, 0):
        convolution, norm = block.cycle.prolongations[level]
        z = maps[level] + norm(F.conv2d(smooth - maps[level + 1], convolution.weight, groups=convolution.groups))
        smooth = F.relu(z + block.cycle.smoothers[level].branch(z))
    torch.testing.assert_close(block(x), smooth)
    assert isinstance(block.cycle.smoothers[0].branch.expand.activation, nn.ELU)


def test_groups_of_the_mobile_form_divide_both_widths() -> None:
    block = MultigridInvertedBottleneck(24, 90, 24, group_size=4, dense_below=16)
    assert block.cycle.smoothers[0].branch.expand.conv.groups == 6
    assert MultigridInvertedBottleneck(24, 92, 24, group_size=4, dense_below=16).cycle.smoothers[0].branch.expand.conv.groups == 4
