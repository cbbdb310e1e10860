"""Ghost modules and bottlenecks against the equations of arXiv 1911.11907."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gconv_gan.layers.blocks.ghost import GhostBottleneck, GhostModule
from gconv_gan.layers.blocks.squeeze_excite import SqueezeExcite
from gconv_gan.layers.initialisers import glorot_, orthogonal_
from gconv_gan.layers.resample import ResampledConv2d
from tests.reference.randomised import randomise, x64


@pytest.mark.parametrize(
    ("n", "s", "k", "d", "stride"), [(6, 2, 3, 3, 1), (5, 2, 1, 3, 1), (7, 3, 3, 5, 2), (8, 5, 5, 1, 1), (4, 1, 3, 3, 2)]
)
def test_intrinsic_and_ghost_maps(n: int, s: int, k: int, d: int, stride: int) -> None:
    torch.manual_seed(0)
    layer = randomise(GhostModule(3, n, k, stride, k // 2, ratio=s, cheap_kernel_size=d))
    x = x64(2, 3, 7, 6)
    m = math.ceil(n / s)
    conv = layer.primary.conv
    intrinsic = F.conv2d(x, conv.weight, conv.bias, stride, k // 2)
    maps = list(intrinsic.unbind(1))
    assert len(maps) == m
    for index in range(m * (s - 1)):
        cheap = layer.cheap.conv
        kernel, bias = cheap.weight[index : index + 1], cheap.bias[index : index + 1]
        maps.append(F.conv2d(intrinsic[:, index // (s - 1), None], kernel, bias, padding=d // 2)[:, 0])
    torch.testing.assert_close(layer(x), torch.stack(maps[:n], 1))


def test_surplus_ghosts_are_computed_and_cut() -> None:
    layer = GhostModule(4, 64, ratio=3)
    assert layer.primary.conv.out_channels == 22
    assert layer.cheap.conv.out_channels == 44
    assert layer(torch.randn(1, 4, 5, 5)).shape == (1, 64, 5, 5)
    assert GhostModule(4, 5)(torch.randn(1, 4, 5, 5)).shape == (1, 5, 5, 5)


def test_scaling_ghosts_come_in_the_order_of_their_maps() -> None:
    torch.manual_seed(0)
    layer = GhostModule(3, 12, ratio=3, cheap_kernel_size=1, bias=False).double()
    y = layer(x64(1, 3, 4, 4))
    m, ghosts = 4, 2
    scales = layer.cheap.conv.weight.view(m, ghosts)
    for i in range(m):
        for j in range(ghosts):
            torch.testing.assert_close(y[:, m + i * ghosts + j], scales[i, j] * y[:, i])


def test_each_part_has_its_own_norm_and_activation() -> None:
    torch.manual_seed(0)
    layer = randomise(GhostModule(3, 8, bias=False, norm=nn.BatchNorm2d, activation=nn.ReLU))
    x = x64(2, 3, 5, 5)
    intrinsic = F.relu(layer.primary.norm(layer.primary.conv(x)))
    ghosts = F.relu(layer.cheap.norm(layer.cheap.conv(intrinsic)))
    torch.testing.assert_close(layer(x), torch.cat([intrinsic, ghosts], 1))
    assert [norm.num_features for norm in (layer.primary.norm, layer.cheap.norm)] == [4, 4]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("k", "stride"), [(1, 1), (3, 1), (3, 2), (5, 2), (1, 2)])
def test_it_has_the_interface_of_a_convolution(k: int, stride: int, bias: bool) -> None:
    arguments = (4, 10, k, stride, k // 2, 1, 1, bias)
    x = torch.randn(2, 4, 9, 8)
    ghost = GhostModule(*arguments)
    assert ghost(x).shape == nn.Conv2d(*arguments)(x).shape
    assert (ghost.primary.conv.bias is not None) == (ghost.cheap.conv.bias is not None) == bias


def test_parameters_are_the_formula() -> None:
    c, n, k, s, d = 16, 24, 3, 3, 5
    m = n // s
    with_norms = GhostModule(c, n, k, padding=1, bias=False, ratio=s, cheap_kernel_size=d, norm=nn.BatchNorm2d, activation=nn.ReLU)
    assert sum(p.numel() for p in with_norms.parameters()) == c * m * k**2 + m * (s - 1) * d**2 + 2 * m * s
    assert GhostModule(c, n, ratio=1).cheap is None


def test_ghosts_of_unit_variance_maps_have_unit_variance() -> None:
    torch.manual_seed(0)
    layer = GhostModule(64, 512, 3, padding=1, bias=False)
    ghosts = layer.cheap.conv(torch.randn(4, 256, 12, 12))[:, :, 1:-1, 1:-1]
    assert ghosts.var().item() == pytest.approx(2.0, rel=0.05)  # He's gain for a rectifier, per group


@pytest.mark.parametrize(("resample", "side"), [("up", 12), ("down", 3)])
def test_resampling_is_the_primary_convolutions(resample: str, side: int) -> None:
    torch.manual_seed(0)
    layer = GhostModule(4, 6, 3, padding=1, conv=ResampledConv2d, resample=resample).double()
    x = x64(2, 4, 6, 6)
    expected = ResampledConv2d(4, 3, 3, padding=1, resample=resample).double()
    expected.load_state_dict(layer.primary.conv.state_dict())
    assert layer(x).shape == (2, 6, side, side)
    torch.testing.assert_close(layer(x)[:, :3], expected(x))


def test_initialisers_fill_each_ghosts_kernel_by_itself() -> None:
    torch.manual_seed(0)
    layer = GhostModule(64, 512, 3, bias=False)
    glorot_(layer)
    assert layer.primary.conv.weight.var().item() == pytest.approx(2 / (9 * (64 + 256)), rel=0.02)
    assert layer.cheap.conv.weight.var().item() == pytest.approx(2 / (9 * 2), rel=0.06)
    orthogonal_(layer)
    torch.testing.assert_close(layer.cheap.conv.weight.square().sum((1, 2, 3)), torch.ones(256))


def test_refusals() -> None:
    with pytest.raises(ValueError, match="not one of 4 groups"):
        GhostModule(8, 8, 3, groups=4)
    with pytest.raises(ValueError, match="cheap_kernel_size odd"):
        GhostModule(8, 8, cheap_kernel_size=2)


@pytest.mark.parametrize(("stride", "outputs"), [(1, 4), (1, 6), (2, 6), (2, 4)])
def test_a_ghost_bottleneck(stride: int, outputs: int) -> None:
    torch.manual_seed(0)
    block = randomise(GhostBottleneck(4, 10, outputs, 5, stride, attention=lambda c: SqueezeExcite(c, 4, gate=nn.Hardsigmoid)))
    x, b = x64(2, 4, 8, 8), block.branch
    h = b.ghost1(x)
    if stride == 2:
        h = b.depthwise.norm(F.conv2d(h, b.depthwise.conv.weight, None, 2, 2, groups=10))
    y = b.ghost2(b.attention(h))
    if stride == 1 and outputs == 4:
        y = y + x
    else:
        depthwise, pointwise = block.shortcut
        s = depthwise.norm(F.conv2d(x, depthwise.conv.weight, None, stride, 2, groups=4))
        y = y + pointwise.norm(F.conv2d(s, pointwise.conv.weight))
    torch.testing.assert_close(block(x), y)
    assert (y < 0).any()
    assert "activation" not in dict(b.ghost2.primary.named_children())
    assert "activation" in dict(b.ghost1.primary.named_children())
