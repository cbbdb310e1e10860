"""The networks of the presets, as their commands build them: sizes, where they start, what they see at once."""

from pathlib import Path

import pytest
import torch
from torch import nn

from gconv_gan.config.load import load_config
from gconv_gan.config.runs import GANRunConfig
from gconv_gan.gallery.gates import gate_statistics, record_gates
from gconv_gan.recipes.networks import build_networks

PRESETS = Path(__file__).parents[2] / "configs" / "gan"


def networks(preset: str, *overrides: str, num_classes: int | None = None) -> tuple[nn.Module, nn.Module]:
    """Return generator and discriminator of ``train_gan.py configs/gan/PRESET.toml OVERRIDES``."""
    torch.manual_seed(0)
    return build_networks(load_config(GANRunConfig, PRESETS / f"{preset}.toml", list(overrides)), num_classes)


@pytest.mark.parametrize("kind", ["gconv", "gigagan"])
def test_gates_asked_for_by_their_kind_alone_see_the_latent_vector_at_once(kind: str) -> None:
    generator, _ = networks("cifar10_small", "--generator.conv.kind", kind, "--generator.width", "16")
    gates = record_gates(generator, torch.randn(64, 128), None)
    statistics = [gate_statistics(layer) for layer in gates.values()]
    assert len(statistics) == 6
    assert all(layer.entropy < 0.99 for layer in statistics)
    assert all(layer.variance > 0.01 for layer in statistics)


@pytest.mark.parametrize("kind", ["odconv", "dyconv", "gigagan"])
def test_one_kernel_has_no_parameters_that_choose_among_kernels(kind: str) -> None:
    generator, _ = networks("cifar10_small", "--generator.conv.kind", kind, "--generator.conv.num-kernels", "1")
    assert [name for name, _ in generator.named_parameters() if ".gate." in name] == []
    generator(torch.randn(2, 128)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in generator.parameters())
