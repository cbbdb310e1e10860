import pytest
import torch
from torch import nn

from gconv_gan.models.classifiers.wide_resnet import WideResNet


def test_a_projection_stands_where_channels_change() -> None:
    projected = {width: [net.trunk.stage1[0].projection is not None for net in [WideResNet(depth=10, width=width)]] for width in (1, 2)}
    assert projected == {1: [False], 2: [True]}
    stages = WideResNet(depth=16, width=1).trunk
    assert [[block.projection is not None for block in getattr(stages, f"stage{i}")] for i in (2, 3)] == [[True, False]] * 2


def test_nothing_follows_the_stem_and_dropout_stands_in_every_block() -> None:
    network = WideResNet(depth=10, width=1, dropout=0.3)
    assert isinstance(network.trunk.stem, nn.Conv2d)
    assert [module.p for module in network.modules() if isinstance(module, nn.Dropout)] == [0.3] * 3 + [0.0]


@pytest.mark.parametrize(("size", "classes"), [(32, 10), (64, 200)])
def test_any_size_that_three_strides_divide(size: int, classes: int) -> None:
    network = WideResNet(depth=10, width=0.5, num_classes=classes)
    assert network(torch.randn(2, 3, size, size)).shape == (2, classes)
    assert network.feature_dim == 32


def test_a_depth_that_is_not_6n_plus_4_is_refused() -> None:
    with pytest.raises(ValueError, match=r"6n\+4 .* not 18"):
        WideResNet(depth=18, width=1)
    with pytest.raises(ValueError, match="not 4"):
        WideResNet(depth=4, width=1)


def test_convolutions_start_with_kaiming_fan_in() -> None:
    torch.manual_seed(0)
    conv = WideResNet(depth=10, width=8).trunk.stage3[0].branch.conv1
    assert conv.weight.var().item() == pytest.approx(2 / (9 * 256), rel=0.02)
