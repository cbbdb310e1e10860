"""The plain net: the wiring of its table, and the gain of its initial weights."""

import pytest
import torch
from torch import nn

from gconv_gan.models.classifiers.named import build_classifier
from gconv_gan.models.classifiers.plain_net import PlainNet


def test_ten_convolutions_of_width_16_with_two_poolings() -> None:
    network = build_classifier("plain_net")
    convolutions = [module for module in network.trunk.modules() if isinstance(module, nn.Conv2d)]
    assert [conv.in_channels for conv in convolutions] == [3] + [16] * 9
    assert {conv.out_channels for conv in convolutions} == {16}
    assert not any(conv.bias is None or conv.bias.any() for conv in convolutions)
    assert network.trunk(torch.randn(1, 3, 14, 14)).shape == (1, 16, 3, 3)
    names = list(network.trunk._modules)
    assert names.index("pool4") == names.index("unit4") + 1
    assert names.index("pool7") == names.index("unit7") + 1


@pytest.mark.parametrize("gain", [0.6, 1.0, 1.6])
def test_the_gain_multiplies_the_initial_weights_of_the_convolutions(gain: float) -> None:
    plain, scaled = ((torch.manual_seed(0), PlainNet(gain=g))[1] for g in (1.0, gain))
    for (name, one), (_, other) in zip(plain.named_parameters(), scaled.named_parameters(), strict=True):
        torch.testing.assert_close(other, gain * one if name.endswith("conv.weight") else one)
    wide = PlainNet(gain=gain, depth=3, width=64, pools=())
    assert float(wide.trunk.unit2.conv.weight.detach().std()) == pytest.approx(gain * (2 / (9 * 64)) ** 0.5, rel=0.02)


def test_pools_after_convolutions_that_are_not_there_are_refused() -> None:
    with pytest.raises(ValueError, match=r"pools \[4, 7\] are numbers of convolutions, which go from 1 to 5"):
        build_classifier("plain_net", depth=5)
