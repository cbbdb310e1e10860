"""The guard against non-finite gradients: weights are frozen from the first one on, and the host reads the flag on request."""

import copy
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from gconv_gan.methods.method import Player
from gconv_gan.optim.learning_rates import hold_learning_rates, set_learning_rate
from gconv_gan.optim.optimizers import adam, adamw, sgd
from gconv_gan.training.guards import FiniteGuard, NotFiniteError
from gconv_gan.training.step import finish_step

CPU = torch.device("cpu")
OPTIMIZERS = {"adam": adam, "adamw": adamw, "sgd": partial(sgd, momentum=0.9)}


def player(make: Callable[..., torch.optim.Optimizer], name: str = "classifier") -> Player:
    torch.manual_seed(0)
    made = Player(name, nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), make, 0.1)
    hold_learning_rates(made.optimizer, CPU)
    return made


def step(one: Player, guard: FiniteGuard, x: Tensor, images: int, *, limit: float | None = None) -> Tensor:
    set_learning_rate(one.optimizer, 0.1)
    one.network(x).square().sum().backward()
    return finish_step(one, methods=(), guard=guard, max_grad_norm=limit, images_seen=torch.tensor(images))


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("first_bad", [0, 2])
@pytest.mark.parametrize("limit", [None, 1.0])
def test_weights_and_moments_stay_as_they_were_before_the_first_bad_step(kind: str, first_bad: int, limit: float | None) -> None:
    one, guard, x = player(OPTIMIZERS[kind]), FiniteGuard(CPU), torch.randn(5, 3)
    for number in range(first_bad):
        step(one, guard, x, 100 + 4 * number, limit=limit)
    guard.require_finite()
    weights, moments = copy.deepcopy(one.network.state_dict()), copy.deepcopy(one.optimizer.state_dict()["state"])
    bad = x.clone()
    bad[1, 2] = float("nan")
    for number, inputs in enumerate((bad, x, x)):  # the steps after the bad one have finite gradients
        step(one, guard, inputs, 100 + 4 * (first_bad + number), limit=limit)
    assert all(torch.equal(value, weights[name]) for name, value in one.network.state_dict().items())
    for index, slots in moments.items():
        for key, value in slots.items():
            assert torch.equal(one.optimizer.state_dict()["state"][index][key], value), key
    sentence = rf"classifier's gradient is not finite after {100 + 4 * first_bad} images, first in 0\.weight \(4 t"
    with pytest.raises(NotFiniteError, match=sentence):
        guard.require_finite()


def test_one_players_non_finite_gradient_stops_all_players() -> None:
    generator, discriminator, guard = player(adam, "generator"), player(adam, "discriminator"), FiniteGuard(CPU)
    before = copy.deepcopy(discriminator.network.state_dict())
    step(generator, guard, torch.full((2, 3), float("inf")), 0)
    step(discriminator, guard, torch.ones(2, 3), 0)
    assert all(torch.equal(value, before[name]) for name, value in discriminator.network.state_dict().items())


def test_a_finite_run_is_that_of_an_optimiser_without_a_guard() -> None:
    x = torch.randn(5, 3)
    guarded, plain, guard = player(adam), player(adam), FiniteGuard(CPU)
    for _ in range(3):
        step(guarded, guard, x, 0)
        plain.network(x).square().sum().backward()
        set_learning_rate(plain.optimizer, 0.1)
        plain.optimizer.step()
        plain.optimizer.zero_grad()
    ours, theirs = guarded.network.state_dict(), plain.network.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
