"""Each sub-module gets its own flag back, and each parameter its own."""

import contextlib

from torch import nn

from gconv_gan.runtime.modes import evaluating, frozen


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
