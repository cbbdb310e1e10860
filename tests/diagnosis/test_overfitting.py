"""The probe of the discriminator's overfitting reads a run and changes nothing of it."""

import copy
from pathlib import Path

import pytest
import torch

from gconv_gan.commands.train.networks import build_networks
from gconv_gan.commands.train.objective import build_objective
from gconv_gan.data.batches.subset import without_held_out
from gconv_gan.data.cache import open_dataset
from gconv_gan.diagnosis.overfitting import probe
from tests.training.tiny import tiny


@pytest.mark.parametrize("conditional", [False, True])
def test_a_probe_changes_nothing_and_repeats_its_numbers(conditional: bool, tmp_path: Path) -> None:
    augment = {"kind": "ada", "initial_probability": 0.5}
    config = tiny(tmp_path, conditional=conditional, augment=augment, discriminator={"norm": {"kind": "spectral"}})
    dataset, classes = open_dataset(config.data), 10 if conditional else None
    networks = generator, discriminator = build_networks(config, classes)
    objective = build_objective(config, discriminator, classes)
    measured = probe(dataset, *without_held_out(dataset, share=0.2, seed=0), latent_dim=6, num_classes=classes)
    assert (len(measured.train.images), len(measured.held_out.images)) == (256, 71)
    for network in networks:
        network.train()
    before, draws = [copy.deepcopy(part.state_dict()) for part in (*networks, objective.augment)], torch.random.get_rng_state()
    first = measured(generator, discriminator, objective)
    assert "d_held_out" in first
    assert measured(generator, discriminator, objective) == first
    for part, state in zip((*networks, objective.augment), before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in part.state_dict().items())
    assert all(module.training for network in networks for module in network.modules())
    assert all(parameter.grad is None for network in networks for parameter in network.parameters())
    assert torch.equal(torch.random.get_rng_state(), draws)
