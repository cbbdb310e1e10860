"""GN+: the limits of its mixture, both kinds of statistics, and group counts that fit the channels."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gconv_gan.layers.norms.group_norm import GroupNorm, GroupNormPlus, group_count


def make(channels: int = 8, *, mix: float = 1.0, **options: object) -> GroupNormPlus:
    torch.manual_seed(0)
    layer = GroupNormPlus(channels, **{"num_groups": 4, **options}).double()
    nn.init.constant_(layer.mix, mix)
    return layer


def maps(*shape: int) -> Tensor:
    torch.manual_seed(1)
    return 2 * torch.randn(*shape, dtype=torch.float64) + 3 * torch.randn(1, shape[1], 1, 1, dtype=torch.float64)


def reference(layer: GroupNormPlus, x: Tensor) -> Tensor:
    """The released layer, group by group and position by position (agusgun/CS-570-Project)."""
    u = torch.empty_like(x)
    for image in range(len(x)):
        for channels in torch.arange(x.shape[1]).chunk(layer.num_groups):
            part = x[image, channels]
            u[image, channels] = (part - part.mean()) / (part.std(correction=1) + layer.eps)
    w = (u - u.mean(0, keepdim=True)) / (u.std(0, correction=1, keepdim=True) + layer.eps)
    share = 1 / (1 + math.exp(-layer.mix.item()))
    return (share * u + (1 - share) * w) * layer.weight[:, None, None] + layer.bias[:, None, None]


def test_by_position_it_is_the_released_layer() -> None:
    layer, x = make(statistics="batch_position", mix=0.3), maps(5, 8, 3, 4)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    torch.testing.assert_close(layer(x), reference(layer, x), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(layer.eval()(x), reference(layer, x), rtol=1e-10, atol=1e-10)


def test_by_channel_it_is_torchs_group_norm_then_torchs_batch_norm_mixed() -> None:
    layer, norm, x = make(mix=0.3), nn.BatchNorm2d(8, affine=False).double(), maps(5, 8, 3, 4)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    u = F.group_norm(x, 4)
    mixed = torch.lerp(norm(u), u, layer.mix.sigmoid())
    expected = mixed * layer.weight[:, None, None] + layer.bias[:, None, None]
    torch.testing.assert_close(layer(x), expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(layer.batch_norm.running_mean, norm.running_mean)


@pytest.mark.parametrize("training", [True, False])
def test_with_all_weight_on_the_group_part_it_is_group_norm(training: bool) -> None:
    x = maps(4, 8, 5, 3)
    torch.testing.assert_close(make(mix=50).train(training)(x), F.group_norm(x, 4), rtol=0, atol=1e-4)
    values = 2 * 5 * 3
    faithful = F.group_norm(x, 4) * math.sqrt((values - 1) / values)
    torch.testing.assert_close(make(mix=50, statistics="batch_position")(x), faithful, rtol=0, atol=1e-4)


def test_with_all_weight_on_the_batch_part_statistics_are_normal() -> None:
    x = maps(6, 8, 3, 3)
    y = make(mix=-50, statistics="batch_position")(x)
    torch.testing.assert_close(y.mean(0), torch.zeros_like(y[0]), rtol=0, atol=1e-4)
    torch.testing.assert_close(y.std(0), torch.ones_like(y[0]), rtol=0, atol=1e-4)
    y = make(mix=-50)(x)
    torch.testing.assert_close(y.mean((0, 2, 3)), torch.zeros_like(y[0, :, 0, 0]), rtol=0, atol=1e-4)
    torch.testing.assert_close(y.var((0, 2, 3), correction=0), torch.ones_like(y[0, :, 0, 0]), rtol=0, atol=1e-4)


def test_the_mixture_is_one_learned_scalar_that_starts_at_0_7311() -> None:
    layer = make()
    assert layer.mix.shape == ()
    assert layer.mix.sigmoid().item() == pytest.approx(0.7311, abs=5e-5)
    layer(maps(4, 8, 3, 3)).pow(3).sum().backward()
    assert layer.mix.grad.abs() > 0


def test_statistics_are_per_channel_and_only_the_default_keeps_any() -> None:
    assert {name: tuple(b.shape) for name, b in make().named_buffers()} == {
        "batch_norm.running_mean": (8,),
        "batch_norm.running_var": (8,),
        "batch_norm.num_batches_tracked": (),
    }
    assert not list(make(statistics="batch_position").buffers())


def test_of_two_images_the_position_part_keeps_a_sign() -> None:
    y = make(mix=-50, statistics="batch_position", eps=1e-9)(maps(2, 8, 3, 3))
    torch.testing.assert_close(y.abs(), torch.full_like(y, 0.5**0.5), rtol=0, atol=1e-3)


def test_evaluation_uses_running_statistics_and_keeps_images_apart() -> None:
    layer, x = make(momentum=1.0, mix=0.3), maps(4, 8, 3, 3)
    layer(x)
    u = F.group_norm(x, 4)
    expected = torch.lerp((u - u.mean((0, 2, 3), keepdim=True)) / (u.var((0, 2, 3), keepdim=True) + 1e-5).sqrt(), u, layer.mix.sigmoid())
    y = layer.eval()(x)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(layer(x[1:2]), y[1:2], rtol=0, atol=1e-10)


def test_single_images_train_by_channel_and_are_refused_by_position() -> None:
    x = maps(1, 8, 3, 3)
    assert make()(x).isfinite().all()
    with pytest.raises(ValueError, match="two images or more"):
        make(statistics="batch_position")(x)
    with pytest.raises(ValueError, match="two values or more"):
        make(num_groups=8, statistics="batch_position")(maps(4, 8, 1, 1))


@pytest.mark.parametrize(
    ("channels", "asked", "count"), [(64, 32, 32), (32, 32, 32), (48, 32, 24), (16, 32, 8), (8, 4, 4), (31, 32, 1), (3, 32, 1), (1, 32, 1)]
)
def test_groups_divide_the_channels_and_hold_two_unless_asked(channels: int, asked: int, count: int) -> None:
    assert group_count(channels, asked) == count
    assert GroupNormPlus(channels, num_groups=asked).num_groups == count
    assert GroupNorm(channels, num_groups=asked).num_groups == count
