"""Every part of a classifier that a config can replace is replaced, and no other."""

from typing import Any

import pytest
import torch
from torch import nn

from gconv_gan.config.errors import UserError
from gconv_gan.config.load import validated
from gconv_gan.config.sections.classifier_units import NamedClassifierConfig
from gconv_gan.layers.blocks.ghost import GhostModule
from gconv_gan.layers.blocks.non_local import NonLocal2d
from gconv_gan.layers.blocks.squeeze_excite import SqueezeExcite
from gconv_gan.layers.lipschitz.conv_norm import ConvNorm2d, has_spectral_norm
from gconv_gan.layers.norms.batch_norm import BatchNorm2d
from gconv_gan.layers.norms.group_norm import GroupNorm, GroupNormPlus
from gconv_gan.layers.norms.invariant_conv import InvariantConv2d
from gconv_gan.layers.norms.iter_norm import IterNorm
from gconv_gan.metrics.extractors.trained_classifier import describe
from gconv_gan.models.classifiers.named import build_classifier
from gconv_gan.models.classifiers.parts.standardised import BatchNormalisedInput
from gconv_gan.models.factory import build_classifier_network

SMALL = {"name": "resnet20", "options": {"depths": [1, 1, 1], "widths": [8, 16, 32], "stem_width": 8}}


def config(**changes: Any) -> NamedClassifierConfig:
    return validated(NamedClassifierConfig, {**SMALL, **changes}, "test")


def network(**changes: Any) -> nn.Module:
    torch.manual_seed(0)
    return build_classifier_network(config(**changes), num_classes=4, image_size=16)


def count(built: nn.Module, kind: type[nn.Module]) -> int:
    return sum(type(module) is kind for module in built.modules())


def test_nothing_exchanged_is_the_network_of_the_table() -> None:
    torch.manual_seed(0)
    table = build_classifier("resnet20", num_classes=4, depths=(1, 1, 1), widths=(8, 16, 32), stem_width=8)
    ours, theirs = network().state_dict(), table.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert network().image_size == 16


@pytest.mark.parametrize(
    ("changes", "layer", "expected"),
    [
        ({"norm": {"kind": "group", "num_groups": 4}}, GroupNorm, 7),
        ({"norm": {"kind": "group_plus", "num_groups": 4}}, GroupNormPlus, 7),
        ({"conv": {"kind": "invariant", "block_size": 4}, "norm": {"kind": "none"}}, InvariantConv2d, 7),
        ({"norm": {"kind": "iter", "group_size": 8}}, IterNorm, 7),
        ({"norm": {"kind": "none"}}, BatchNorm2d, 0),
        ({"activation": "elu"}, nn.ELU, 7),
        ({"attention": {"kind": "squeeze_excite"}}, SqueezeExcite, 3),
        ({"attention": {"kind": "non_local", "norm": "softmax", "embed_channels": 4}}, NonLocal2d, 3),
        ({"conv": {"kind": "conv_norm"}, "norm": {"kind": "none"}}, ConvNorm2d, 7),
        ({"conv": {"kind": "ghost", "ratio": 4}}, GhostModule, 7),
    ],
)
def test_a_part_is_exchanged_everywhere(changes: dict[str, Any], layer: type[nn.Module], expected: int) -> None:
    built = network(**changes)
    assert count(built, layer) == expected
    assert built(torch.zeros(2, 3, 16, 16)).shape == (2, 4)


def test_details_reach_the_layers() -> None:
    assert {norm.num_groups for norm in network(norm={"kind": "group", "num_groups": 6}).modules() if isinstance(norm, GroupNorm)} == {4}
    scaled = [module for module in network(norm={"kind": "batch", "initial_scale": 0.1}).modules() if isinstance(module, BatchNorm2d)]
    assert all(torch.equal(norm.weight, torch.full_like(norm.weight, 0.1)) for norm in scaled)
    attention = network(attention={"kind": "non_local", "norm": "softmax", "embed_channels": 4})
    assert {(block.norm, block.embed_channels) for block in attention.modules() if isinstance(block, NonLocal2d)} == {("softmax", 4)}
    spectral = network(conv={"kind": "spectral"})
    assert sum(isinstance(module, nn.Conv2d) and has_spectral_norm(module) for module in spectral.modules()) == 7
    whitened = network(order="whitened", norm={"kind": "iter", "affine": False})
    kinds = [type(module) for module in whitened.trunk.stage1[0].branch.modules() if isinstance(module, IterNorm | nn.Conv2d)]
    assert kinds == [IterNorm, nn.Conv2d] * 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "resnt20"}, "network: there is no classifier 'resnt20'; did you mean resnet20"),
        ({"options": {"depth": [1]}}, "network: .*unexpected keyword argument 'depth'"),
    ],
)
def test_what_a_network_does_not_take_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        network(**changes)


def test_a_description_builds_the_same_network() -> None:
    changes = {"norm": {"kind": "group", "num_groups": 4}, "activation": "elu"}
    fields = describe(config(**changes), image_size=16, classes="abcd")
    assert fields["network"] == "resnet20"
    assert "name" not in fields["arguments"]
    again = validated(
        NamedClassifierConfig, {"name": "resnet20", **{k: v for k, v in fields["arguments"].items() if k != "image_size"}}, ""
    )
    assert again == config(**changes)


def test_the_images_may_enter_through_a_batch_norm_at_the_scale_of_the_others() -> None:
    plain, built = network(), network(norm={"kind": "batch", "initial_scale": 0.1, "normalise_input": True})
    assert isinstance(built, BatchNormalisedInput)
    assert set(built.state_dict()) == {f"network.{name}" for name in plain.state_dict()} | {
        f"input_norm.{name}" for name in BatchNorm2d(3).state_dict()
    }
    images = torch.rand(16, 3, 16, 16) * torch.tensor([1.0, 0.5, 0.2])[:, None, None] + 0.3
    seen = built.standard(images)
    torch.testing.assert_close(seen.std((0, 2, 3), correction=0), torch.full((3,), 0.058), rtol=0.01, atol=0)
    torch.testing.assert_close(seen.mean((0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-6)
    built.eval()
    torch.testing.assert_close(built.head(built.features(images)), built(images))
    torch.testing.assert_close(built(images), built.network(built.standard(images)))
    assert not built.input_norm.bias.requires_grad
