"""The schedule of the gates' temperature: its values, the affected gates, and resuming."""

import copy
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from gconv_gan.commands.train import gan as recipe
from gconv_gan.layers import DyConv2d, GConv2d, ODConv2d
from gconv_gan.methods.method import Player, Progress
from gconv_gan.methods.temperature import GateTemperature
from gconv_gan.optim.ema import Ema
from tests.training.interrupted import At, PowerCutError, fit_with, power_cut
from tests.training.tiny import final_files, tiny


def player(name: str, network: nn.Module) -> Player:
    return Player(name, network, lambda one: torch.optim.SGD(one.parameters(), 0.1), 0.1)


def test_it_falls_in_a_straight_line_and_stays_at_one() -> None:
    schedule = GateTemperature(first=30.0, images=500_000)
    assert [schedule.temperature(n) for n in (0, 50_000, 250_000, 500_000, 10**7)] == pytest.approx([30.0, 27.1, 15.5, 1.0, 1.0])


def test_the_steps_of_the_first_public_code_lie_on_a_line() -> None:
    schedule = GateTemperature(first=34.0, images=11)  # an epoch an "image"
    assert [schedule.temperature(epoch) for epoch in range(13)] == pytest.approx([*range(34, 0, -3), 1])


def test_it_touches_every_gate_of_the_generator_and_nothing_else() -> None:
    network = nn.Sequential(
        DyConv2d(4, 4, 3),
        ODConv2d(4, 4, 3),
        GConv2d(4, 4, 3, latent_dim=2),
        GConv2d(4, 4, 3, latent_dim=2, selection="open"),
        nn.Linear(2, 2),
    )
    before = {name: value.clone() for name, value in network.state_dict().items()}
    schedule = GateTemperature(first=30.0, images=100)
    other = copy.deepcopy(network)
    players = {"generator": player("generator", network), "discriminator": player("discriminator", other)}
    schedule.begin(players, Progress(images_seen=50))
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())
    for name, value in network.state_dict().items():
        assert value == 15.5 if name.endswith("temperature") else torch.equal(value, before[name])
    assert sum(name.endswith("temperature") for name in before) == 3


def test_the_average_has_the_temperature_of_its_network() -> None:
    network = nn.Sequential(DyConv2d(4, 4, 3))
    generator = Player("generator", network, lambda one: torch.optim.SGD(one.parameters()), 0.1, partial(Ema, half_life_images=64))
    GateTemperature(first=30.0, images=100).begin({"generator": generator}, Progress(images_seen=50))
    assert generator.average is not None
    assert generator.average.network[0].gate.temperature == network[0].gate.temperature == 15.5
    network[0].gate.temperature.fill_(3.0)
    generator.average.update(torch.tensor(0.5))
    assert generator.average.network[0].gate.temperature == 3.0


ANNEALED = {"generator": {"conv": {"kind": "dyconv", "num_kernels": 2, "anneal_images": 400}}}


def test_it_is_in_the_checkpoints_and_a_broken_run_ends_with_the_bits_of_an_unbroken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    recipe.fit(tiny(unbroken, **ANNEALED))
    for images, temperature in {160: 30 - 29 * 0.4, 320: 30 - 29 * 0.8, 480: 1.0}.items():
        for name in ("generator", "ema"):
            tensors = load_file(unbroken / "tiny" / f"checkpoint-{images}" / f"{name}.safetensors")
            assert tensors["blocks.0.conv1.gate.temperature"].item() == pytest.approx(temperature)
    with pytest.raises(PowerCutError):
        fit_with(monkeypatch, At(208, power_cut), broken, **ANNEALED)
    recipe.fit(tiny(broken, **ANNEALED))
    assert final_files(broken) == final_files(unbroken)
