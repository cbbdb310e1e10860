"""Modes and ``requires_grad`` flags are restored, and Accelerate's autocast is off within ``full_precision``."""

import contextlib

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from gconv_gan.runtime.modes import evaluating, frozen, full_precision


def test_evaluation_restores_every_sub_module_even_after_an_error() -> None:
    network = nn.Sequential(nn.BatchNorm2d(2), nn.Dropout(), nn.BatchNorm2d(2))
    network[0].eval()
    with contextlib.suppress(KeyError), evaluating(network):
        assert not any(module.training for module in network.modules())
        raise KeyError
    assert [module.training for module in network] == [False, True, True]


def test_freezing_restores_every_parameter() -> None:
    network = nn.Linear(2, 2)
    network.bias.requires_grad_(False)
    with frozen(network):
        assert not any(p.requires_grad for p in network.parameters())
    assert [p.requires_grad for p in network.parameters()] == [True, False]


@pytest.mark.usefixtures("fresh_accelerate_state")
def test_full_precision_sees_through_what_accelerate_wraps_around_a_network() -> None:
    torch.manual_seed(0)
    network, x = nn.Linear(64, 1), torch.randn(8, 64)
    exact = network(x)
    prepared = Accelerator(mixed_precision="bf16", cpu=True).prepare(network)
    rounded = prepared(x)
    assert not torch.equal(rounded, exact)  # bf16 it is
    with full_precision(network), torch.autocast("cpu", dtype=torch.bfloat16, enabled=False):
        assert torch.equal(network(x), exact)
    with torch.autocast("cpu", dtype=torch.bfloat16), full_precision(network):
        assert torch.equal(network(x), exact)
    assert torch.equal(prepared(x), rounded)


def test_full_precision_leaves_an_unprepared_network_alone() -> None:
    network = nn.Linear(4, 1)
    with full_precision(network):
        network(torch.zeros(1, 4))
    assert "forward" not in vars(network)
