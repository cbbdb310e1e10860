"""Activations by name: ELU's values and derivatives, gains against closed forms and torch's."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from gconv_gan.layers.activations import LEAKY_RELU, activation_gain
from gconv_gan.layers.tables import ACTIVATIONS

every_activation = pytest.mark.parametrize("name", ACTIVATIONS)


def test_values_of_elu() -> None:
    x = torch.tensor([2.0, 0.0, -0.5, -1.0, -50.0])
    torch.testing.assert_close(nn.ELU()(x), torch.tensor([2.0, 0.0, -0.3935, -0.6321, -1.0]), rtol=0, atol=1e-4)


def test_slope_of_elu_is_one_above_zero_and_its_value_plus_one_below() -> None:
    x = torch.linspace(-6, 6, 41, dtype=torch.float64, requires_grad=True)
    y = nn.ELU()(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(slope, torch.where(x > 0, torch.ones_like(y), y + 1), rtol=0, atol=1e-6)


def test_elu_is_one_lipschitz_and_twice_differentiable_away_from_zero() -> None:
    torch.manual_seed(0)
    a, b = 3 * torch.randn(2, 10_000, dtype=torch.float64)
    elu = nn.ELU()
    assert ((elu(a) - elu(b)).abs() <= (a - b).abs()).all()
    x = torch.tensor([-3.0, -0.5, 0.5, 3.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(elu, (x,))


@every_activation
def test_no_activation_changes_its_input_or_has_parameters(name: str) -> None:
    x = torch.linspace(-3, 3, 7)
    before, module = x.clone(), ACTIVATIONS[name]()
    module(x)
    assert torch.equal(x, before)
    assert not list(module.parameters())


@pytest.mark.parametrize(("made", "torchs"), [(nn.ReLU, ("relu",)), (LEAKY_RELU, ("leaky_relu", 0.2)), (nn.Identity, ("linear",))])
def test_gains_agree_with_torchs_where_torch_follows_the_same_rule(made: Callable[[], nn.Module], torchs: tuple[str, float]) -> None:
    assert activation_gain(made) == pytest.approx(nn.init.calculate_gain(*torchs), abs=1e-9)


def test_gain_of_elu_in_closed_form() -> None:
    r"""E f^2 = 1/2 + int_{u<0} (e^u - 1)^2 phi = 1/2 + e^2 Phi(-2) - 2 e^{1/2} Phi(-1) + 1/2."""

    def phi(u: float) -> float:
        return 0.5 * math.erfc(-u / math.sqrt(2))

    second_moment = 1 + math.exp(2) * phi(-2) - 2 * math.exp(0.5) * phi(-1)
    assert activation_gain(nn.ELU) == pytest.approx(second_moment**-0.5, abs=1e-9)
    assert activation_gain(nn.SELU) == pytest.approx(1.0, abs=1e-6)  # the constants of SELU are made for it


@every_activation
def test_the_gain_keeps_the_second_moment(name: str) -> None:
    u = torch.randn(400_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert (activation_gain(ACTIVATIONS[name]) * ACTIVATIONS[name]()(u)).square().mean().item() == pytest.approx(1.0, abs=0.015)
