"""The networks of the presets, built by their commands: sizes, initial weights, inputs of the gates."""

from pathlib import Path

import pytest
import torch
from torch import nn

from gconv_gan.commands.train.networks import build_networks
from gconv_gan.config.load import load_config
from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.gallery.pictures.gates import gate_statistics, record_gates

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


STUDIOGAN = [f"cifar{classes}_biggan{form}" for classes in (10, 100) for form in ("", "_gconv")]
# of StudioGAN's models/big_resnet.py at conv dim 96, shared dimension 128, z 80, attention after G's block 2 and D's block 1
STUDIOGAN_GENERATOR = {10: 9_416_196, 100: 9_427_716}
STUDIOGAN_DISCRIMINATOR = {10: 2_415_170, 100: 2_432_450}


def classes_of(preset: str) -> int:
    return 100 if "cifar100" in preset else 10


@pytest.mark.parametrize("preset", STUDIOGAN)
def test_biggan_has_the_parameters_that_studiogan_trains(preset: str) -> None:
    generator, discriminator = networks(preset, num_classes=classes_of(preset))
    assert sum(p.numel() for p in discriminator.parameters()) == STUDIOGAN_DISCRIMINATOR[classes_of(preset)]
    if "gconv" not in preset:
        assert sum(p.numel() for p in generator.parameters()) == STUDIOGAN_GENERATOR[classes_of(preset)]


@pytest.mark.parametrize("preset", STUDIOGAN)
def test_biggan_starts_as_studiogan_does(preset: str) -> None:
    widths = ("--generator.width", "16", "--discriminator.width", "16")
    for network in networks(preset, *widths, num_classes=classes_of(preset)):
        biases = {name: bias for name, bias in network.named_parameters() if name.endswith("bias")}
        assert len(biases) > 10
        assert [name for name, bias in biases.items() if bias.any()] == []


@pytest.mark.parametrize("preset", STUDIOGAN)
def test_biggans_discriminator_rectifies_the_input_of_its_shortcuts(preset: str) -> None:
    _, discriminator = networks(preset, "--discriminator.width", "16", num_classes=classes_of(preset))
    for block in list(discriminator.eval().blocks)[1:]:
        x = torch.randn(2, 16, 8, 8)
        assert torch.equal(block(x), block(x.relu()))


def test_the_cifar_scripts_tables_of_classes_start_as_its_embeddings() -> None:
    generator, discriminator = networks("cifar10_biggan_script", num_classes=10)
    for block in generator.blocks:
        for norm in (block.norm1, block.norm2):
            assert norm.scale.weight.mean().item() == pytest.approx(1.0, abs=0.003)
            assert norm.shift.weight.mean().item() == pytest.approx(0.0, abs=0.003)
            assert norm.scale.weight.std().item() == pytest.approx(0.02, rel=0.1)
            assert norm.shift.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert discriminator.embedding.parametrizations.weight.original.std().item() == pytest.approx(0.02, rel=0.1)
