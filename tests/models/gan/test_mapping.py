"""The mapping network against its equations, the mean of w, and truncation towards it."""

import copy
import math
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from gconv_gan.models.gan.mapping import MappedGenerator, MappingNetwork
from gconv_gan.models.gan.resnet import ResNetGenerator
from tests.processes import run_two


def mapped(*, depth: int = 2) -> MappedGenerator:
    torch.manual_seed(0)
    synthesis = ResNetGenerator(image_size=8, width=4, latent_dim=7)
    return MappedGenerator(MappingNetwork(latent_dim=5, width=7, depth=depth), synthesis, latent_dim=5)


def unit(t: Tensor) -> Tensor:
    return t / t.square().mean(1, keepdim=True).sqrt()


def test_equals_the_equations() -> None:
    torch.manual_seed(0)
    network = MappingNetwork(latent_dim=5, width=7, depth=3, num_classes=4).double()
    z, y = torch.randn(6, 5, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 0, 1])
    with torch.no_grad():
        for layer in network.layers:
            layer.bias.normal_(std=100)
    h = torch.cat([unit(z), unit(network.embedding.weight[y])], 1)
    for layer in network.layers:
        h = math.sqrt(2) * F.leaky_relu(0.01 * (h @ layer.weight.T / math.sqrt(h.shape[1]) + layer.bias), 0.2)
    torch.testing.assert_close(network(z, y), h, rtol=1e-6, atol=1e-6)
    assert [layer.in_features for layer in network.layers] == [12, 7, 7]


def test_start_keeps_the_variance_and_a_small_step_moves_it_by_the_multiplier() -> None:
    torch.manual_seed(0)
    network = MappingNetwork(latent_dim=64, width=512, depth=8)
    z = torch.randn(256, 64)
    w = network(z)
    assert w.square().mean().item() == pytest.approx(1, rel=0.3)  # √2 keeps the second moment of a leaky ReLU to 1.04 per layer
    assert network.layers[3].weight.std().item() == pytest.approx(100, rel=0.05)
    torch.testing.assert_close(network(3 * z), w)  # z enters by its direction


def test_the_mean_of_w_moves_in_training_alone() -> None:
    g = mapped()
    z = torch.randn(16, 5)
    w = g.mapping(z).detach()
    g(z)
    torch.testing.assert_close(g.w_mean, 0.005 * w.mean(0))
    g(z)
    torch.testing.assert_close(g.w_mean, (0.005 + 0.995 * 0.005) * w.mean(0))
    before = g.w_mean.clone()
    g.eval()(z)
    assert torch.equal(g.w_mean, before)
    assert "w_mean" in g.state_dict()


def test_truncation_moves_w_towards_the_mean() -> None:
    g = mapped()
    for _ in range(10):
        g(torch.randn(16, 5))
    g.eval()
    z = torch.randn(4, 5)
    half = g.truncated(0.5)
    torch.testing.assert_close(half(z), g.synthesis(g.w_mean + 0.5 * (g.mapping(z) - g.w_mean)))
    assert torch.equal(g.truncated(1.0)(z), g(z))
    mean = g.truncated(0.0)(z)
    torch.testing.assert_close(mean, mean[:1].expand_as(mean))
    assert g.psi == 1.0


def test_a_truncated_generator_shares_every_weight() -> None:
    g = mapped().eval()
    half, z = g.truncated(0.5), torch.randn(2, 5)
    before = half(z)
    with torch.no_grad():
        g.synthesis.to_rgb.bias.add_(1.0)
        g.w_mean.add_(1.0)
    assert not torch.equal(half(z), before)
    assert all(a is b for a, b in zip(g.parameters(), half.parameters(), strict=True))
    assert copy.deepcopy(half).psi == 0.5


def test_layers_behind_it_receive_w() -> None:
    g = mapped().eval()
    z = torch.randn(3, 5)
    assert (g.latent_dim, g.image_size, g.num_classes) == (5, 8, None)
    assert torch.equal(g(z), g.synthesis(g.mapping(z)))
    with pytest.raises(ValueError, match="takes no y"):
        g(z, torch.tensor([0, 0, 0]))


def one_of_two(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.set_num_threads(1)
    g = mapped()
    g(torch.arange(30.0).view(6, 5)[slice(0, 2) if rank == 0 else slice(2, 6)])
    torch.save(g.w_mean, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_with_unequal_shares_move_the_mean_as_one(tmp_path: Path) -> None:
    run_two(one_of_two, str(tmp_path))
    g = mapped()
    g(torch.arange(30.0).view(6, 5))
    for rank in range(2):
        torch.testing.assert_close(torch.load(tmp_path / f"{rank}.pt"), g.w_mean)
