"""Every kind of convolution and norm of a config in a generator: the built layers, their parameters, and refusals."""

from typing import Any

import pytest
import torch
from torch import nn

from gconv_gan.config.errors import UserError
from gconv_gan.config.load import apply_overrides
from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.layers import (
    AdaptiveConv2d,
    BatchNorm2d,
    CConv2d,
    ClassConditionalNorm2d,
    CondConv2d,
    DyConv2d,
    GConv2d,
    GhostModule,
    KernelGate,
    ModulatedConv2d,
    ODConv2d,
    ResampledConv2d,
    SelfModulatedBatchNorm2d,
)
from gconv_gan.layers.tables import CONVS
from gconv_gan.models.factory import build_generator
from tests.training.tiny import tiny

KINDS: dict[str, type[nn.Module]] = {
    "plain": ResampledConv2d,
    "gconv": GConv2d,
    "ghost": GhostModule,
    "condconv": CondConv2d,
    "dyconv": DyConv2d,
    "odconv": ODConv2d,
    "cconv": CConv2d,
    "stylegan2": ModulatedConv2d,
    "gigagan": AdaptiveConv2d,
}


def generator(tmp_path: Any, *, conditional: bool = True, **changes: object) -> nn.Module:
    config = tiny(tmp_path, conditional=conditional, generator=changes)
    torch.manual_seed(0)
    return build_generator(config.generator, image_size=8, num_classes=10 if conditional else None)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_builds_its_layer_and_trains(tmp_path: Any, kind: str) -> None:
    network = generator(tmp_path, conv={"kind": kind})
    block = network.blocks[0]
    assert type(block.conv1) is type(block.conv2) is KINDS[kind]
    assert type(block.shortcut) is type(network.to_rgb) is ResampledConv2d
    images = network(torch.randn(4, 6), torch.arange(4))
    assert images.shape == (4, 3, 8, 8)
    images.square().sum().backward()
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_flags_include_shortcuts_and_the_last_convolution(tmp_path: Any, kind: str) -> None:
    network = generator(tmp_path, conv={"kind": kind}, conv_in_shortcuts=True, conv_to_rgb=True)
    assert type(network.blocks[0].shortcut) is KINDS[kind]
    if kind in ("stylegan2", "gigagan"):
        assert type(network.to_rgb) is ModulatedConv2d
        assert not network.to_rgb.demodulate
        assert network.to_rgb.num_kernels == 1
    else:
        assert type(network.to_rgb) is KINDS[kind]
    assert network(torch.randn(2, 6), torch.arange(2)).shape == (2, 3, 8, 8)


@pytest.mark.parametrize(
    ("conv", "attribute", "value"),
    [
        ({"kind": "condconv", "num_kernels": 8, "bias": "static"}, "num_kernels", 8),
        ({"kind": "condconv", "bias": "none"}, "bias", None),
        ({"kind": "dyconv"}, "gate.temperature", 30.0),
        ({"kind": "odconv", "temperature": 4.0}, "gate.temperature", 4.0),
        ({"kind": "gigagan", "num_kernels": 3}, "gate.num_gates", 3),
        ({"kind": "stylegan2", "equalized_lr": False}, "weight_scale", 1.0),
        ({"kind": "gconv", "selection": "open"}, "gate.selection", "open"),
        ({"kind": "gconv"}, "gate.embedding", None),
        ({"kind": "gconv", "class_gates": True, "class_dim": 9}, "gate.embedding.embedding_dim", 9),
    ],
    ids=str,
)
def test_options_reach_the_layer(tmp_path: Any, conv: dict[str, object], attribute: str, value: object) -> None:
    found: Any = generator(tmp_path, conv=conv).blocks[0].conv1
    for name in attribute.split("."):
        found = getattr(found, name)
    assert found == value


def test_open_gates_have_the_dictionary_and_no_gate_parameters(tmp_path: Any) -> None:
    control, gated = (generator(tmp_path, conv={"kind": "gconv", "selection": selection}) for selection in ("open", "sigmoid"))
    conv = control.blocks[0].conv1
    assert [name for name, _ in conv.named_parameters()] == ["dictionary", "mix", "bias"]
    assert sum(p.numel() for p in gated.parameters()) - sum(p.numel() for p in control.parameters()) == 2 * (6 * 8 + 8)
    assert all(module.selection == "open" for module in control.modules() if isinstance(module, KernelGate))
    # at first the gates of both are 1
    assert torch.equal(control.blocks[0].conv1.mix, gated.blocks[0].conv1.mix)


def test_each_kind_of_norm_builds_its_layer(tmp_path: Any) -> None:
    expected = {
        ("batch", False): (BatchNorm2d, BatchNorm2d),
        ("batch", True): (ClassConditionalNorm2d, BatchNorm2d),
        ("self_modulated", False): (SelfModulatedBatchNorm2d, SelfModulatedBatchNorm2d),
        ("self_modulated", True): (SelfModulatedBatchNorm2d, SelfModulatedBatchNorm2d),
    }
    for (kind, conditional), (of_blocks, last) in expected.items():
        network = generator(tmp_path, conditional=conditional, norm={"kind": kind})
        block = network.blocks[0]
        assert type(block.norm1) is type(block.norm2) is of_blocks
        assert type(network.last_norm) is last
        assert network(torch.randn(2, 6), torch.arange(2) if conditional else None).shape == (2, 3, 8, 8)
    modulated = generator(tmp_path, conditional=False, norm={"kind": "self_modulated", "hidden": 9})
    assert modulated.last_norm.hidden.out_features == 9
    assert modulated.last_norm.class_scale is None


def test_a_class_conditional_convolution_without_classes_is_refused_before_training(tmp_path: Any) -> None:
    sentence = 'generator.conv.kind = "cconv" needs classes: set conditional = true, or choose something else there'
    with pytest.raises(UserError, match=sentence):
        tiny(tmp_path, conditional=False, generator={"conv": {"kind": "cconv"}})
    config = tiny(tmp_path)
    with pytest.raises(UserError, match=f"command line: {sentence}"):
        apply_overrides(config, ["--generator.conv.kind", "cconv", "--conditional", "False"])
    assert isinstance(apply_overrides(config, ["--generator.conv.kind", "cconv"]), GANRunConfig)
    with pytest.raises(UserError, match=r"generator\.conv\.class_gates = true needs classes"):
        tiny(tmp_path, conditional=False, generator={"conv": {"class_gates": True}})
    with pytest.raises(ValueError, match="num_classes"):
        CONVS["cconv"](4, 4, 3, num_classes=None)


def test_a_misspelt_kind_is_refused_with_the_nearest(tmp_path: Any) -> None:
    with pytest.raises(UserError, match="did you mean 'condconv'"):
        tiny(tmp_path, generator={"conv": {"kind": "condcov"}})
    with pytest.raises(UserError, match="did you mean 'self_modulated'"):
        apply_overrides(tiny(tmp_path), ["--generator.norm.kind", "selfmodulated"])
