"""Residual attention against the published networks of arXiv 1704.06904."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gconv_gan.layers.blocks.residual import PreactBlock
from gconv_gan.layers.blocks.residual_attention import MaskActivation, ResidualAttention, SoftMask
from tests.reference.randomised import randomise, x64


def unit(block: PreactBlock, x: Tensor) -> Tensor:
    b = block.branch
    h = F.conv2d(F.relu(block.preactivation.norm(x)), b.conv1.weight)
    h = F.conv2d(F.relu(b.preactivation2.norm(h)), b.conv2.weight, padding=1)
    return x + F.conv2d(F.relu(b.preactivation3.norm(h)), b.conv3.weight)


def units(chain: nn.Sequential, x: Tensor) -> Tensor:
    for block in chain:
        x = unit(block, x)
    return x


def resize(x: Tensor, like: Tensor) -> Tensor:
    """Bilinear interpolation whose corners are aligned, one axis after the other, by its definition."""
    for axis in (2, 3):
        source, target = x.shape[axis], like.shape[axis]
        position = torch.arange(target, dtype=x.dtype) * ((source - 1) / (target - 1) if target > 1 else 0.0)
        low = position.floor().long()
        high = (low + 1).clamp(max=source - 1)
        t = (position - low).view([-1, 1] if axis == 2 else [-1])
        x = x.index_select(axis, low) * (1 - t) + x.index_select(axis, high) * t
    return x


def plain_mask(mask: SoftMask, x: Tensor) -> Tensor:
    pooled = [x]
    for down in mask.down:
        pooled.append(units(down, F.max_pool2d(pooled[-1], 3, 2, 1)))
    u = units(mask.bottom, F.max_pool2d(pooled[-1], 3, 2, 1))
    for level in range(len(mask.down) - 1, -1, -1):
        d = pooled[level + 1]
        u = units(mask.up[level], resize(u, d) + unit(mask.skips[level][0], d))
    pre1, conv1, pre2, conv2 = mask.tail
    h = F.conv2d(F.relu(pre1.norm(resize(u, x))), conv1.weight)
    return torch.sigmoid(F.conv2d(F.relu(pre2.norm(h)), conv2.weight))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("depth", "p", "t", "r"), [(1, 1, 2, 1), (2, 1, 2, 1), (3, 2, 1, 2)])
def test_the_equations(depth: int, p: int, t: int, r: int, training: bool) -> None:
    torch.manual_seed(0)
    layer = randomise(ResidualAttention(8, depth=depth, pre_units=p, trunk_units=t, mask_units=r)).train(training)
    assert [len(layer.pre), len(layer.trunk), len(layer.post), len(layer.mask.bottom)] == [p, t, p, 2 * r]
    assert (len(layer.mask.down), len(layer.mask.skips), len(layer.mask.up)) == (depth - 1,) * 3
    x = x64(3, 8, 11, 9)
    trunk = units(layer.pre, x)
    mask, trunk = plain_mask(layer.mask, trunk), units(layer.trunk, trunk)
    torch.testing.assert_close(layer(x), units(layer.post, (1 + mask) * trunk))


@pytest.mark.parametrize(("learning", "factor"), [("residual", 1.5), ("naive", 0.5)])
def test_a_mask_of_one_half(learning: str, factor: float) -> None:
    torch.manual_seed(0)
    layer, x = randomise(ResidualAttention(8, depth=2, learning=learning, pre_units=0)), x64(2, 8, 8, 8)
    nn.init.zeros_(layer.mask.tail[-1].weight)
    torch.testing.assert_close(layer(x), factor * layer.trunk(x))


@pytest.mark.parametrize("learning", ["residual", "naive"])
def test_the_mask_filters_gradients(learning: str) -> None:
    torch.manual_seed(0)
    layer = randomise(ResidualAttention(8, learning=learning, pre_units=0, trunk_units=0))
    x = x64(2, 8, 8, 8)
    mask = layer.mask(x).detach()
    layer.mask.register_forward_hook(lambda *_: mask)
    (gradient,) = torch.autograd.grad(layer(t := x.clone().requires_grad_()).sum(), t)
    torch.testing.assert_close(gradient, 1 + mask if learning == "residual" else mask)


def test_the_mask_does_not_depend_on_the_trunk() -> None:
    torch.manual_seed(0)
    layer, x, masks = randomise(ResidualAttention(8, depth=2)), x64(2, 8, 8, 8), []
    layer.mask.register_forward_hook(lambda *args: masks.append(args[2]))
    layer(x)
    with torch.no_grad():
        for parameter in layer.trunk.parameters():
            parameter.add_(1.0)
    layer(x)
    assert torch.equal(*masks)
    assert masks[0].shape == x.shape
    assert ((masks[0] > 0) & (masks[0] < 1)).all()


def test_the_masks_of_the_paper() -> None:
    x = x64(2, 5, 4, 3)
    torch.testing.assert_close(MaskActivation("mixed")(x), 1 / (1 + (-x).exp()))
    channel = MaskActivation("channel")(x)
    torch.testing.assert_close(channel.square().sum(1), torch.ones(2, 4, 3, dtype=torch.float64))
    torch.testing.assert_close(channel, x / x.norm(dim=1, keepdim=True))
    standard = (x - x.mean((2, 3), keepdim=True)) / x.std((2, 3), keepdim=True, correction=0)
    torch.testing.assert_close(MaskActivation("spatial")(x), standard.sigmoid(), rtol=1e-4, atol=1e-4)
    for kind in ("mixed", "channel", "spatial"):
        for flat in (torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 7.0)):
            flat.requires_grad_()
            y = MaskActivation(kind)(flat)
            (gradient,) = torch.autograd.grad(y.sum(), flat)
            assert y.isfinite().all()
            assert gradient.isfinite().all()


@pytest.mark.parametrize(("size", "depth", "bottom"), [(56, 3, 7), (28, 2, 7), (14, 1, 7), (33, 3, 5), (57, 3, 8)])
def test_any_size_runs_and_has_the_documented_coarsest_size(size: int, depth: int, bottom: int) -> None:
    layer, seen = ResidualAttention(4, depth=depth), []
    layer.mask.bottom.register_forward_hook(lambda *args: seen.append(args[2].shape[2:]))
    assert layer(torch.randn(2, 4, size, size)).shape == (2, 4, size, size)
    assert seen == [(bottom, bottom)]


def test_without_units_it_is_one_plus_mask_times_input() -> None:
    torch.manual_seed(0)
    layer, x = randomise(ResidualAttention(8, pre_units=0, trunk_units=0)), x64(2, 8, 6, 6)
    torch.testing.assert_close(layer(x), (1 + layer.mask(x)) * x)


def test_a_mask_pools_at_least_once() -> None:
    with pytest.raises(ValueError, match="at least one pooling"):
        ResidualAttention(8, depth=0)
