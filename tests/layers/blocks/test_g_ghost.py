"""G-Ghost stages against the equations of arXiv 2201.03297."""

import io

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gconv_gan.layers.blocks.g_ghost import GGhostStage
from gconv_gan.layers.blocks.residual import ResidualBlock
from tests.reference.randomised import randomise, x64


def test_the_equations() -> None:
    torch.manual_seed(0)
    stage = randomise(GGhostStage(6, 16, 4, group_width=4))
    assert (stage.raw_channels, stage.cheap[0].out_channels) == (6, 10)  # groups of 3
    x = x64(2, 6, 8, 8)
    x0 = stage.base(x)
    e1 = stage.blocks[0](x0[:, :6])
    e2 = stage.blocks[1](e1)
    means = torch.cat([x0, e1, e2], 1).mean((2, 3))
    assert means.shape[1] == 16 + 6 * 2
    first, second = stage.mix
    m = F.relu(first.norm((means @ first.conv.weight.flatten(1).T)[:, :, None, None]))
    m = second.norm(F.conv2d(m, second.conv.weight))
    c = F.relu(stage.cheap.norm(F.conv2d(x0[:, 6:], stage.cheap.conv.weight)) + m)
    torch.testing.assert_close(stage(x), stage.end(torch.cat([e2, c], 1)))
    assert [p.bias for p in (first.conv, second.conv, stage.cheap.conv)] == [None] * 3


def test_a_mix_whose_last_norm_is_zero_adds_nothing() -> None:
    torch.manual_seed(0)
    stage, x = randomise(GGhostStage(6, 16, 3, group_width=4)), x64(2, 6, 8, 8)
    nn.init.zeros_(stage.mix[1].norm.weight)
    nn.init.zeros_(stage.mix[1].norm.bias)
    x0 = stage.base(x)
    c = F.relu(stage.cheap(x0[:, 6:]))
    torch.testing.assert_close(stage(x), stage.end(torch.cat([stage.blocks(x0[:, :6]), c], 1)))


@pytest.mark.parametrize("depth", [1, 2])
def test_a_short_stage_is_plain(depth: int) -> None:
    stage = GGhostStage(6, 16, depth, group_width=4)
    assert [type(block) for block in stage.blocks] == [ResidualBlock] * depth
    assert stage(torch.randn(2, 6, 8, 8)).shape == (2, 16, 4, 4)


@pytest.mark.parametrize(
    ("channels", "group_width", "raw"), [(192, 48, 72), (432, 48, 216), (240, 40, 120), (720, 120, 360), (2520, 168, 1260)]
)
def test_the_split_rounds_to_reduced_groups(channels: int, group_width: int, raw: int) -> None:
    with torch.device("meta"):
        stage = GGhostStage(8, channels, 3, group_width=group_width)
    assert (stage.raw_channels, stage.cheap[0].out_channels) == (raw, channels - raw)
    assert stage.blocks[0].branch.unit2.conv.groups == raw // min(raw, int(0.75 * group_width))


def test_one_image_and_impossible_splits_are_refused() -> None:
    stage, x = GGhostStage(6, 16, 3, group_width=4), torch.randn(1, 6, 8, 8)
    with pytest.raises(ValueError, match="two images per batch"):
        stage(x)
    assert stage.eval()(x).shape == (1, 16, 4, 4)
    with pytest.raises(ValueError, match="both must be positive"):
        GGhostStage(6, 16, 3, group_width=4, ratio=0.95)


def test_it_survives_pickle_and_export() -> None:
    torch.manual_seed(0)
    stage, x = GGhostStage(6, 16, 3, group_width=4).eval(), torch.randn(2, 6, 8, 8)
    file = io.BytesIO()
    torch.save(stage, file)
    file.seek(0)
    assert torch.equal(torch.load(file, weights_only=False)(x), stage(x))
    torch.testing.assert_close(torch.export.export(stage, (x,)).module()(x), stage(x))
