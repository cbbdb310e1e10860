"""Roles of parameters by module type: each parameter has one role, which does not depend on its name or shape."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn

from gconv_gan.layers import (
    BatchNorm2d,
    ConditionalBatchNorm2d,
    GConv2d,
    GroupNormPlus,
    InputBatchNorm2d,
    IterNorm,
    LatentBatchNorm2d,
    NonLocal2d,
    SelfModulatedBatchNorm2d,
    apply_spectral_norm,
    initialise_batch_norms,
)
from gconv_gan.optim.learning_rates import hold_learning_rates, set_learning_rate
from gconv_gan.optim.optimizers import adam, sgd
from gconv_gan.optim.parameter_groups import parameter_groups, parameters_by_role


def roles(network: nn.Module) -> dict[str, str]:
    """Return the role of every trainable parameter by its name, and check that each has exactly one."""
    found = parameters_by_role(network)
    by_id = {id(parameter): role for role, parameters in found.items() for parameter in parameters}
    assert sum(map(len, found.values())) == len(by_id)
    names = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert by_id.keys() == {id(parameter) for parameter in names.values()}
    return {name: by_id[id(parameter)] for name, parameter in names.items()}


@pytest.mark.parametrize(
    "norm",
    [BatchNorm2d(4), nn.GroupNorm(2, 4), nn.InstanceNorm2d(4, affine=True), nn.LayerNorm(4), IterNorm(4)],
    ids=lambda n: type(n).__name__,
)
def test_the_weight_of_a_norm_is_its_scale(norm: nn.Module) -> None:
    assert roles(nn.Sequential(norm)) == {"0.weight": "norm_scale", "0.bias": "norm_other"}


def test_the_mixture_weight_of_group_norm_plus_is_no_scale() -> None:
    assert roles(GroupNormPlus(4)) == {"mix": "norm_other", "weight": "norm_scale", "bias": "norm_other"}


def test_parameters_shaped_like_a_scale_are_weights_or_biases() -> None:
    network = nn.ModuleDict(
        {
            "linear": nn.Linear(4, 1),
            "pointwise": nn.Conv2d(4, 1, 1),
            "depthwise": nn.Conv2d(4, 4, 1, groups=4),
            "slope": nn.PReLU(),
            "embedding": nn.Embedding(3, 1),
        }
    )
    found = roles(network)
    assert [found[f"{name}.weight"] for name in ("linear", "pointwise", "depthwise", "embedding")] == ["weight"] * 4
    assert found["slope.weight"] == "bias"
    assert {found[f"{name}.bias"] for name in ("linear", "pointwise", "depthwise")} == {"bias"}


def test_modulated_norms_have_scales_and_shifts() -> None:
    assert roles(ConditionalBatchNorm2d(4, 3)) == {"scale.weight": "norm_scale", "shift.weight": "norm_other"}
    assert roles(LatentBatchNorm2d(4, 5)) == {"scale.weight": "norm_scale", "shift.weight": "norm_other"}
    found = roles(SelfModulatedBatchNorm2d(4, 5, num_classes=3))
    assert {name for name, role in found.items() if role == "norm_scale"} == {"scale.weight", "scale.bias"}
    assert {name for name, role in found.items() if role == "norm_other"} == {"shift.weight", "shift.bias"}
    assert found["hidden.weight"] == "weight"


def test_every_other_layer_has_a_role() -> None:
    network = apply_spectral_norm(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(4, 1)))
    assert roles(network)["0.parametrizations.weight.original"] == "weight"
    found = roles(GConv2d(4, 4, 3, latent_dim=5, mode="bank", bias="dynamic"))
    assert (found["bank"], found["bias"]) == ("weight", "bias")
    assert roles(NonLocal2d.sagan(8))["gain"] == "bias"


def test_shared_and_frozen_parameters() -> None:
    shared = nn.Linear(2, 2)
    assert roles(nn.Sequential(shared, shared)) == {"0.weight": "weight", "0.bias": "bias"}
    assert roles(InputBatchNorm2d()) == {"weight": "norm_scale"}


@pytest.mark.parametrize(("make", "decay"), [(partial(sgd, weight_decay=0.1, decay="weights"), 0.1), (adam, 0.0)], ids=["sgd", "adam"])
def test_schedules_keep_the_ratio_and_only_weights_decay(make: Callable[..., torch.optim.Optimizer], decay: float) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), BatchNorm2d(4), nn.Linear(4, 1))
    optimizer = make(network, learning_rate=0.4, norm_scale_divisor=100.0)
    found = {parameter: group for group in optimizer.param_groups for parameter in group["params"]}
    for factor in (1.0, 0.5, 1e-6):
        hold_learning_rates(optimizer, torch.device("cpu"))
        set_learning_rate(optimizer, 0.4 * factor)
        assert found[network[1].weight]["lr"].item() == pytest.approx(0.4 * factor / 100)
        assert {found[p]["lr"].item() for p in (network[0].weight, network[1].bias, network[2].bias)} == {0.4 * factor}
    decays = {name: found[parameter].get("weight_decay", 0.0) for name, parameter in network.named_parameters()}
    assert decays == {name: decay if name in ("0.weight", "2.weight") else 0.0 for name in decays}


def test_a_step_moves_scales_a_hundredth_as_far() -> None:
    moved = {}
    for divisor in (1.0, 100.0):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 4, 3), BatchNorm2d(4))
        initialise_batch_norms(network)
        optimizer = sgd(network, weight_decay=0.0, norm_scale_divisor=divisor)
        hold_learning_rates(optimizer, torch.device("cpu"))
        set_learning_rate(optimizer, 0.1)
        network(torch.randn(2, 3, 5, 5)).pow(3).sum().backward()
        optimizer.step()
        moved[divisor] = (network[1].weight - 0.1).detach()
    torch.testing.assert_close(moved[1.0], 100 * moved[100.0], rtol=1e-4, atol=1e-8)


def test_without_a_difference_there_are_no_groups() -> None:
    network = nn.Linear(2, 2)
    assert list(parameter_groups(network)) == list(network.parameters())


def test_an_optimiser_makes_the_groups() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), BatchNorm2d(4))
    plain = sgd(network)
    assert len(plain.param_groups) == 1
    grouped = sgd(network, norm_scale_divisor=50.0, decay="weights")
    assert [group.get("lr_scale") for group in grouped.param_groups] == [0.02, None, None, None]
    assert [group["weight_decay"] for group in grouped.param_groups] == [0.0, 0.0, 0.0, 5e-4]
