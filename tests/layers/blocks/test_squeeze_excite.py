import torch
from torch import nn

from gconv_gan.layers.blocks.squeeze_excite import SqueezeExcite


def test_it_scales_each_channel_by_a_function_of_all_means() -> None:
    torch.manual_seed(0)
    layer = SqueezeExcite(6, 3, gate=nn.Hardsigmoid).double()
    x = torch.randn(2, 6, 4, 3, dtype=torch.float64)
    reduced = (x.mean((2, 3)) @ layer.reduce.weight.flatten(1).T + layer.reduce.bias).clamp(min=0)
    logits = reduced @ layer.expand.weight.flatten(1).T + layer.expand.bias
    torch.testing.assert_close(layer(x), x * (logits + 3).clamp(0, 6)[:, :, None, None] / 6)


def test_senet_reduces_sixteenfold() -> None:
    assert SqueezeExcite(64).reduce.out_channels == 4
    assert SqueezeExcite(8).reduce.out_channels == 1
