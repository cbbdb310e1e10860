"""The method adds β times the gradient of the penalty to the gradients of all convolutions and linear layers, and to no others."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gconv_gan.commands.train.gan_checks import methods
from gconv_gan.layers.dynamic.gconv import GConv2d
from gconv_gan.layers.lipschitz.spectral_norm import apply_spectral_norm
from gconv_gan.methods.method import Player, PlayerName
from gconv_gan.methods.orthogonal import OrthogonalRegularisation
from gconv_gan.models.gan.biggan import BigGANGenerator
from gconv_gan.models.gan.mapping import MappedGenerator, MappingNetwork
from tests.reference.orthogonal import orthogonal_penalty
from tests.training.tiny import tiny


def conv(in_channels: int, out_channels: int, kernel_size: int, *, latent_dim: int, **options: Any) -> nn.Module:
    """A bank, and dictionaries in the shortcuts."""
    mode = "dictionary" if kernel_size == 1 else "bank"
    return GConv2d(in_channels, out_channels, kernel_size, latent_dim=latent_dim, mode=mode, **options)


def generator() -> nn.Module:
    torch.manual_seed(0)
    network = BigGANGenerator(
        image_size=8,
        width=4,
        latent_dim=6,
        num_classes=2,
        shared_dim=3,
        conv=conv,
        conv_in_shortcuts=True,
        init="normal",
    )
    apply_spectral_norm(network, embeddings=False)
    return network.double()


def player(name: PlayerName, network: nn.Module) -> Player:
    return Player(name, network, lambda one: torch.optim.SGD(one.parameters()), 0.1)


def added(network: nn.Module, strength: float) -> dict[str, torch.Tensor]:
    """Return what the method adds to gradients of one."""
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    method = OrthogonalRegularisation(generator=strength)
    method.after_backward(player("discriminator", network))
    assert all((p.grad == 1).all() for p in network.parameters())
    method.after_backward(player("generator", network))
    return {name: p.grad - 1 for name, p in network.named_parameters()}


def test_it_is_the_gradient_of_the_formula_for_every_convolution_and_linear_map() -> None:
    network = generator()
    gradients = added(network, 0.25)
    for name, parameter in network.named_parameters():
        weight = name.endswith("original") or name.endswith("to_rgb.weight")
        if not weight:
            assert not gradients[name].any(), name
            continue
        leaf = parameter.detach().clone().requires_grad_()
        (expected,) = torch.autograd.grad(0.25 * orthogonal_penalty(leaf.flatten(2) if leaf.ndim == 5 else leaf.flatten(1)), leaf)
        torch.testing.assert_close(gradients[name], expected, rtol=1e-7, atol=1e-12)
    changed = {name for name, gradient in gradients.items() if gradient.any()}
    assert {name.split(".")[-1] for name in changed} == {"original"}
    assert any("bank" in name for name in changed)
    assert any("dictionary" in name for name in changed)
    assert any("norm1.scale" in name for name in changed)
    assert not any("shared" in name or "gate" in name for name in changed)


def test_a_mapping_network_is_not_regularised() -> None:
    inner = generator()
    inner.latent_dim = 6
    network = MappedGenerator(MappingNetwork(latent_dim=3, width=6, depth=1), inner, latent_dim=3).double()
    changed = {name for name, gradient in added(network, 1.0).items() if gradient.any()}
    assert changed
    assert all(name.startswith("synthesis.") for name in changed)


def test_the_key_of_the_network_adds_the_method(tmp_path: Path) -> None:
    assert methods(tiny(tmp_path)) == ()
    [method] = methods(tiny(tmp_path, methods=[{"kind": "orthogonal", "generator": 5e-5}]))
    assert isinstance(method, OrthogonalRegularisation)
    assert method.strengths == {"generator": pytest.approx(5e-5)}
