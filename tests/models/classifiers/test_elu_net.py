"""The ELU networks of arXiv 1511.07289: convolutions, maps, activations."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gconv_gan.models.classifiers.elu_net import ELUNet
from gconv_gan.models.classifiers.named import build_classifier


@pytest.mark.parametrize(("name", "convolutions", "side"), [("elu_net_18", 19, 1), ("elu_net_11", 11, 1)])
def test_convolutions_and_maps(name: str, convolutions: int, side: int) -> None:
    with torch.device("meta"):
        network = build_classifier(name, num_classes=100)
    assert sum(isinstance(module, nn.Conv2d) for module in network.modules()) == convolutions
    network = network.to_empty(device="cpu").eval()
    assert network.trunk(torch.empty(0, 3, 32, 32)).shape[2:] == (side, side)
    assert network(torch.empty(0, 3, 32, 32)).shape == (0, 100)
    assert not any(isinstance(module, nn.BatchNorm2d | nn.ReLU) for module in network.modules())


def test_an_even_kernel_keeps_the_size_and_looks_right_and_down() -> None:
    torch.manual_seed(0)
    unit = ELUNet(width=1 / 64).trunk.stack2.unit2
    conv = unit.conv.conv
    assert conv.kernel_size == (2, 2)
    x = torch.randn(2, conv.in_channels, 5, 4)
    expected = F.elu(F.conv2d(F.pad(x, (0, 1, 0, 1)), conv.weight, conv.bias))
    torch.testing.assert_close(unit(x), expected)


def test_dropout_by_stack() -> None:
    network = ELUNet(width=1 / 64, dropouts=(0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.0))
    assert [module.p for module in network.trunk.modules() if isinstance(module, nn.Dropout)] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.0]


def test_elu() -> None:
    values = torch.tensor([2.0, 0.0, -0.5, -1.0, -50.0])
    torch.testing.assert_close(nn.ELU()(values), torch.tensor([2.0, 0.0, -0.3935, -0.6321, -1.0]), rtol=0, atol=1e-4)
