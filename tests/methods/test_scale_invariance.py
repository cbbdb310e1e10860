"""Scale-invariant weights are found for what they do: with norms, normalised weights, residual sums, and none."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, relu

from gconv_gan.layers import ConvNorm2d
from gconv_gan.layers.lipschitz.spectral_norm import apply_spectral_norm
from gconv_gan.methods.scale_invariance import ScaleProbe
from tests.methods.made import batch, small, without_eps


def groups(network: nn.Module) -> list[tuple[str, ...]]:
    return ScaleProbe("classifier", network).groups()


def convolutions(network: nn.Module) -> set[str]:
    return {f"{name}.weight" for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}


def test_they_are_the_four_convolutions_of_the_conv_net() -> None:
    expected = [(f"trunk.unit{index}.conv.weight",) for index in range(1, 5)]
    assert groups(small("convnet_si")) == groups(small("convnet")) == expected


@pytest.mark.parametrize("name", ["resnet18_si", "preact_resnet18_cifar"])
def test_they_are_all_convolutions_of_the_resnet_of_which_those_of_one_residual_stream_belong_together(name: str) -> None:
    network = small(name)
    found = groups(network)
    assert {weight for group in found for weight in group} == convolutions(network)
    joint = [group for group in found if len(group) > 1]
    assert [len(group) for group in joint] == [3, 3, 3, 3]
    assert joint[0] == ("trunk.stem.weight", "trunk.stage1.0.branch.conv2.weight", "trunk.stage1.1.branch.conv2.weight")
    assert len(found) == 12


def test_a_hidden_linear_layer_behind_no_norm_is_none() -> None:
    network = small("vgg11_cifar")
    assert {weight for group in groups(network) for weight in group} == convolutions(network)


def test_a_network_without_norms_has_none() -> None:
    assert groups(small("elu_net_11")) == []


@pytest.mark.parametrize("name", ["convnet_si", "resnet18_si"])
@pytest.mark.parametrize("factor", [0.1, 10.0])
def test_the_loss_stays_under_any_factor_and_changes_with_the_head(name: str, factor: float) -> None:
    network = without_eps(small(name).double())
    images, labels = batch(0, torch.float64)

    def change(names: tuple[str, ...]) -> float:
        scaled = copy.deepcopy(network)
        with torch.no_grad():
            for weight in names:
                scaled.get_parameter(weight).mul_(factor)
        return (cross_entropy(scaled(images), labels) - cross_entropy(network(images), labels)).abs().item()

    for group in groups(network):
        assert change(group) <= 1e-9
        if len(group) > 1:
            assert change(group[:1]) > 1e-3
    assert change(("head.weight",)) > 1e-3


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_the_gradient_is_orthogonal_to_every_group(dtype: torch.dtype, tolerance: float) -> None:
    network = small("convnet_si").to(dtype)
    if dtype == torch.float64:
        without_eps(network)
    images, labels = batch(0, dtype)
    torch.autograd.backward(cross_entropy(network(images), labels))

    def cosine(name: str) -> float:
        weight = network.get_parameter(name)
        assert weight.grad is not None
        return ((weight * weight.grad).sum() / (weight.norm() * weight.grad.norm())).item()

    assert all(abs(cosine(name)) <= tolerance for (name,) in groups(network))
    assert abs(cosine("head.weight")) > 1e-2


class Net(nn.Module):
    """Images through ``layers``, a mean over positions and a linear head."""

    def __init__(self, *layers: nn.Module, channels: int = 4) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers, self.head = nn.Sequential(*layers), nn.Linear(channels, 5)
        self.image_size = 8

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(relu(self.layers(x)).mean((2, 3)))
        return y


def conv(inputs: int, outputs: int = 4, *, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)


def test_a_bias_is_removed_by_batch_norm_and_not_by_group_norm() -> None:
    assert groups(Net(conv(3), nn.BatchNorm2d(4))) == [("layers.0.weight",)]
    assert groups(Net(conv(3), nn.GroupNorm(2, 4))) == []
    assert groups(Net(conv(3, bias=False), nn.GroupNorm(2, 4))) == [("layers.0.weight",)]


def test_a_bias_that_is_zero_before_training_counts() -> None:
    first = conv(3)
    nn.init.zeros_(first.bias)
    assert groups(Net(first, nn.ReLU(), conv(4), nn.BatchNorm2d(4))) == [("layers.2.weight",)]


def test_only_maps_that_keep_scales_may_stand_between_a_weight_and_its_norm() -> None:
    assert groups(Net(conv(3, bias=False), nn.LeakyReLU(), nn.AvgPool2d(2), nn.BatchNorm2d(4))) == [("layers.0.weight",)]
    assert groups(Net(conv(3, bias=False), nn.Softplus(), nn.BatchNorm2d(4))) == []


def test_normalised_weights_need_no_norm_behind_them() -> None:
    spectral = apply_spectral_norm(Net(conv(3), nn.ReLU(), conv(4)))
    assert groups(spectral) == [(f"{place}.parametrizations.weight.original",) for place in ("layers.0", "layers.2", "head")]
    assert groups(Net(ConvNorm2d(3, 4, 3, padding=1))) == [("layers.0.weight",)]


def test_a_weight_on_which_nothing_depends_is_none() -> None:
    network = Net(conv(3), nn.BatchNorm2d(4))
    network.unused = nn.Linear(3, 3)
    assert groups(network) == [("layers.0.weight",)]


class Product(nn.Module):
    """A residual sum of a map and a product of two matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.shortcut = (conv(3, width, bias=False) for width in (3, 4, 4))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(self.first(x)) + self.shortcut(x)
        return y


def test_factors_that_would_cancel_do_not_pass() -> None:
    assert groups(Net(Product(), nn.BatchNorm2d(4))) == [("layers.0.first.weight", "layers.0.shortcut.weight")]


def test_a_probe_leaves_the_network_and_torchs_generator_alone() -> None:
    network = Net(conv(3), nn.BatchNorm2d(4), nn.Dropout(0.5))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    ScaleProbe("classifier", network).groups()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert network.layers[1].eps == 1e-5


def test_filters_are_free_of_each_other_behind_batch_norm_alone() -> None:
    for norm, free in ((nn.BatchNorm2d(4), True), (nn.GroupNorm(2, 4), False)):
        assert ScaleProbe("classifier", Net(conv(3, bias=False), norm)).filters_unchanged(["layers.0.weight"]) is free
