"""The guard against non-finite gradients: from the first one on nothing is trained, and the host hears of it when it asks."""

import copy

import pytest
import torch
from gconv_gan.optim.factory import build_network_optimizer
from torch import Tensor, nn

from gconv_gan.config.optim import AdamConfig, AdamWConfig, OptimizerConfig, SGDConfig
from gconv_gan.training.guards import FiniteGuard, GuardError
from gconv_gan.training.step import finish_step, set_learning_rate

OPTIMIZERS = (AdamConfig(), AdamWConfig(), SGDConfig(momentum=0.9))
CPU = torch.device("cpu")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))


def step(model: nn.Module, optimizer: torch.optim.Optimizer, guard: FiniteGuard, x: Tensor, *, limit: float | None = None) -> Tensor:
    set_learning_rate(optimizer, 0.1)
    model(x).square().sum().backward()
    norm = finish_step("classifier", model, optimizer, guard=guard, hooks=(), max_grad_norm=limit, images_seen=0)
    guard.count(4)
    return norm


@pytest.mark.parametrize("config", OPTIMIZERS, ids=lambda config: config.kind)
@pytest.mark.parametrize("first_bad", [0, 2])
@pytest.mark.parametrize("limit", [None, 1.0])
def test_weights_and_moments_stay_as_they_were_before_the_first_bad_step(
    config: OptimizerConfig, first_bad: int, limit: float | None
) -> None:
    model, x = network(), torch.randn(5, 3)
    optimizer = build_network_optimizer(config, model)
    guard = FiniteGuard(optimizer, device=CPU, images_seen=100)
    for _ in range(first_bad):
        step(model, optimizer, guard, x, limit=limit)
    guard.require_finite()
    weights, moments = copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict()["state"])
    bad = x.clone()
    bad[1, 2] = float("nan")
    for inputs in (bad, x, x):  # the steps after the bad one have finite gradients
        step(model, optimizer, guard, inputs, limit=limit)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    for index, slots in moments.items():
        for key, value in slots.items():
            assert torch.equal(optimizer.state_dict()["state"][index][key], value), key
    with pytest.raises(
        GuardError, match=rf"classifier's gradient is not finite after {100 + 4 * first_bad} images, first in 0\.weight \(4 t"
    ):
        guard.require_finite()


def test_one_players_bad_gradient_stops_all_and_is_named() -> None:
    players = {"discriminator": network(), "generator": network()}
    optimizers = {name: build_network_optimizer(AdamConfig(), model) for name, model in players.items()}
    guard = FiniteGuard(*optimizers.values(), device=CPU, images_seen=0)
    before = copy.deepcopy(players["discriminator"].state_dict())
    for name, factor in (("generator", float("inf")), ("discriminator", 1.0)):
        set_learning_rate(optimizers[name], 0.1)
        players[name](torch.ones(2, 3)).sum().backward()
        players[name][1].bias.grad.mul_(factor)
        finish_step(name, players[name], optimizers[name], guard=guard, hooks=(), max_grad_norm=None, images_seen=0)  # type: ignore[arg-type]
    assert all(torch.equal(value, before[name]) for name, value in players["discriminator"].state_dict().items())
    with pytest.raises(GuardError, match=r"generator's gradient is not finite after 0 images, first in 1\.bias \(1 tensors\)"):
        guard.require_finite()


def test_a_norm_that_overflows_is_told_from_a_bad_tensor() -> None:
    model = network()
    guard = FiniteGuard(device=CPU, images_seen=0)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    norms = torch.full((4,), 3e38)
    guard.check("generator", model, norms, norms.norm())
    with pytest.raises(GuardError, match="only in its norm, which overflows"):
        guard.require_finite()


def test_a_finite_run_is_that_of_an_optimiser_without_a_guard() -> None:
    x = torch.randn(5, 3)
    found = []
    for guarded in (True, False):
        model = network()
        optimizer = build_network_optimizer(AdamConfig(), model)
        guard = FiniteGuard(optimizer if guarded else torch.optim.SGD(model.parameters()), device=CPU, images_seen=0)
        for _ in range(3):
            step(model, optimizer, guard, x)
        found.append(model.state_dict())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
