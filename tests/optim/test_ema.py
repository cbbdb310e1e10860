"""The weight average, counted in images."""

import copy

import pytest
import torch
from torch import nn

from gconv_gan.layers.lipschitz.spectral_norm import apply_spectral_norm
from gconv_gan.optim.ema import Ema, decay


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def moved(ema: Ema, *, batch_images: int, images_seen: int) -> None:
    ema.update(torch.tensor(ema.weight(batch_images=batch_images, images_seen=images_seen)))


def test_a_half_life_of_constant_target_halves_the_gap() -> None:
    source = network()
    ema = Ema(source, half_life_images=640)
    start = source[0].weight.detach().clone()
    with torch.no_grad():
        source[0].weight.add_(1.0)
    for step in range(10):
        moved(ema, batch_images=64, images_seen=64 * (step + 1))
    torch.testing.assert_close(ema.network[0].weight, start + 0.5, rtol=0, atol=1e-6)


def test_the_half_life_of_the_default_is_a_decay_of_0_999_per_step_of_64() -> None:
    assert decay(44_340, 64, images_seen=0, ramp=None) == pytest.approx(0.999, abs=1e-6)


def test_the_ramp_discards_the_initial_weights() -> None:
    assert decay(1000, 64, images_seen=0, ramp=0.05) == 0.0
    assert decay(1000, 64, images_seen=2000, ramp=0.05) == pytest.approx(0.5**0.64)
    assert decay(1000, 64, images_seen=10**6, ramp=0.05) == pytest.approx(0.5**0.064)


def test_before_its_start_the_average_is_the_network() -> None:
    source = network()
    ema = Ema(source, half_life_images=64, start_images=128)
    for images_seen, expected in ((64, 1.0), (128, 1.5), (192, 2.25)):  # the network moves by one each time
        with torch.no_grad():
            source[0].bias.fill_(images_seen / 64)
        moved(ema, batch_images=64, images_seen=images_seen)
        torch.testing.assert_close(ema.network[0].bias, torch.full((4,), expected))


def test_running_statistics_are_averaged_and_counters_copied() -> None:
    source = network()
    ema = Ema(source, half_life_images=64)
    source[1].running_mean.fill_(2.0)
    source[1].num_batches_tracked.fill_(7)
    moved(ema, batch_images=64, images_seen=64)
    torch.testing.assert_close(ema.network[1].running_mean, torch.ones(4))
    assert ema.network[1].num_batches_tracked.item() == 7


def test_the_trained_network_is_unchanged_and_the_average_has_no_gradients() -> None:
    source = network()
    before = copy.deepcopy(source.state_dict())
    ema = Ema(source, half_life_images=64)
    moved(ema, batch_images=64, images_seen=64)
    assert all(torch.equal(value, before[name]) for name, value in source.state_dict().items())
    assert not any(p.requires_grad for p in ema.network.parameters())
    assert not ema.network.training


def test_it_is_the_plain_formula_and_loaded_tensors_are_seen() -> None:
    source = network().double()
    ema = Ema(source, half_life_images=64, ramp=0.5)
    for images in (64, 128, 192):
        expected = {name: average.clone() for name, average in ema.network.named_parameters()}
        source.load_state_dict({name: torch.randn_like(t) if t.is_floating_point() else t + 1 for name, t in source.state_dict().items()})
        moved(ema, batch_images=64, images_seen=images)
        beta = decay(64, 64, images_seen=images, ramp=0.5)
        for name, average in ema.network.named_parameters():
            plain = beta * expected[name] + (1 - beta) * source.get_parameter(name)
            torch.testing.assert_close(average, plain, rtol=0, atol=1e-6)  # 1 - beta is a float32 number on the device
    assert ema.network[1].num_batches_tracked.item() == source[1].num_batches_tracked.item()


def test_the_average_of_a_constant_network_stays_where_it_is() -> None:
    source = network()
    ema = Ema(source, half_life_images=1_000_000)  # 1 - β is 4e-5: factors that do not sum to 1 would show
    for step in range(3000):
        moved(ema, batch_images=64, images_seen=64 * step)
    torch.testing.assert_close(ema.network[0].weight, source[0].weight, rtol=1e-6, atol=0)


def test_the_spectral_norm_of_an_average_is_computed_from_the_average() -> None:
    """It is estimated from the averaged weight: averaged singular vectors would give too small a norm."""
    torch.manual_seed(0)
    source = apply_spectral_norm(nn.Sequential(nn.Linear(12, 12)))
    original = source[0].parametrizations.weight.original
    first, second = (torch.randn(12, 12) + 12 * torch.outer(*torch.nn.functional.normalize(torch.randn(2, 12))) for _ in range(2))
    original.data.copy_(first)
    for _ in range(20):
        source(torch.zeros(1, 12))
    ema = Ema(source, half_life_images=640)
    original.data.copy_(second)
    for step in range(80):
        source(torch.zeros(1, 12))
        moved(ema, batch_images=8, images_seen=8 * step + 8)
    average = ema.network[0]
    torch.testing.assert_close(average.parametrizations.weight.original, (first + second) / 2, rtol=0, atol=1e-5)
    assert torch.linalg.matrix_norm(average.weight, 2).item() == pytest.approx(1, abs=0.01)
    assert average.parametrizations.weight[0]._u.norm().item() == pytest.approx(1, abs=1e-5)
