"""The two orders of a unit, the biases of convolutions, and initial weights."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from gconv_gan.layers.blocks.block_parts import Parts
from gconv_gan.layers.norms.batch_norm import BatchNorm2d


def kinds(module: nn.Sequential) -> list[type[nn.Module]]:
    return [type(step) for step in module]


def test_the_standard_order_normalises_results_and_the_whitened_order_inputs() -> None:
    standard, whitened = Parts(activation=nn.ELU), Parts(activation=nn.ELU, order="whitened")
    assert kinds(standard.unit(3, 5, 3)) == [nn.Conv2d, BatchNorm2d, nn.ELU]
    assert kinds(whitened.unit(3, 5, 3)) == [BatchNorm2d, nn.Conv2d, nn.ELU]
    assert kinds(standard.preactivation(3)) == [BatchNorm2d, nn.ELU]
    assert kinds(whitened.preactivation(3)) == [nn.ELU, BatchNorm2d]
    assert (standard.unit(3, 5, 3).norm.num_features, whitened.unit(3, 5, 3).norm.num_features) == (5, 3)
    assert kinds(whitened.unit(3, 5, 3, activate=False)) == [BatchNorm2d, nn.Conv2d]
    assert kinds(standard.stem(3, 5, 3)) == [nn.Conv2d, BatchNorm2d, nn.ELU]
    assert kinds(whitened.stem(3, 5, 3)) == [nn.Conv2d, nn.ELU]


def test_a_convolution_has_a_bias_iff_no_norm_follows_it() -> None:
    assert Parts().unit(3, 5, 3).conv.bias is None
    assert Parts(order="whitened").unit(3, 5, 3).conv.bias is not None
    bare = Parts(norm=None)
    assert kinds(bare.unit(3, 5, 3)) == [nn.Conv2d, nn.ReLU]
    assert kinds(bare.preactivation(3)) == [nn.ReLU]
    assert torch.equal(bare.unit(3, 5, 3).conv.bias, torch.zeros(5))


@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(1, 1, 1), (3, 1, 1), (3, 2, 1), (5, 2, 1), (3, 1, 2), (7, 2, 1)])
def test_a_unit_divides_the_map_by_its_stride(kernel: int, stride: int, dilation: int) -> None:
    unit = Parts().unit(2, 4, kernel, stride=stride, dilation=dilation, groups=2)
    assert unit(torch.randn(2, 2, 9, 8)).shape == (2, 4, math.ceil(9 / stride), math.ceil(8 / stride))


def test_the_first_convolution_may_be_another() -> None:
    parts = Parts(conv=partial(nn.Conv2d, padding_mode="circular"), stem_conv=nn.Conv2d)
    assert parts.stem(3, 4, 3).conv.padding_mode == "zeros"
    assert parts.unit(3, 4, 3).conv.padding_mode == "circular"
    assert Parts(conv=partial(nn.Conv2d, padding_mode="circular")).stem(3, 4, 3).conv.padding_mode == "circular"


@pytest.mark.parametrize(("fan", "expected"), [("fan_in", 2 / (9 * 64)), ("fan_out", 2 / (9 * 256))])
def test_plain_convolutions_start_with_the_variance_of_he(fan: str, expected: float) -> None:
    torch.manual_seed(0)
    weight = Parts(fan=fan).convolution(64, 256, 3).weight
    assert weight.var().item() == pytest.approx(expected, rel=0.02)


def test_other_convolutions_keep_their_own_initial_weights() -> None:
    class Averaging(nn.Conv2d):
        def reset_parameters(self) -> None:
            nn.init.constant_(self.weight, 0.25)

    assert torch.equal(Parts(conv=Averaging).convolution(2, 2, 1).weight, torch.full((2, 2, 1, 1), 0.25))
