"""The whitened unit and networks of them: order, widths, folding, and the places of arXiv 2108.10629 that have a norm."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gconv_gan.layers.blocks.residual import basic_block
from gconv_gan.layers.dropout import Dropout
from gconv_gan.layers.norms.iter_norm import IterNorm
from gconv_gan.layers.norms.whitened_unit import WHITENED, WhitenedUnit
from gconv_gan.models.classifiers.named import build_classifier
from tests.layers.made import correlated
from tests.reference.whitening import iter_norm


def whitened(name: str, **options: object) -> nn.Module:
    return build_classifier(name, norm=WHITENED.norm, order=WHITENED.order, **options)


def norms(network: nn.Module) -> dict[str, int]:
    """Return the channels of every norm by its name."""
    return {name: module.num_features for name, module in network.named_modules() if isinstance(module, IterNorm)}


def test_order_and_widths() -> None:
    unit = WhitenedUnit(6, 8, 3, stride=2, activation=nn.ELU)
    assert [(name, type(child)) for name, child in unit.named_children()] == [
        ("norm", IterNorm),
        ("conv", nn.Conv2d),
        ("activation", nn.ELU),
    ]
    assert unit.norm.num_features == 6
    assert unit.norm.weight is None
    assert unit.conv.bias is not None


def test_it_convolves_the_whitened_input() -> None:
    torch.manual_seed(0)
    unit, x = WhitenedUnit(6, 8, 3, stride=2).double(), correlated(3, 6, 6, 5)
    expected = F.relu(F.conv2d(iter_norm(x, 6, 5, 1e-5), unit.conv.weight, unit.conv.bias, stride=2, padding=1))
    torch.testing.assert_close(unit(x), expected, rtol=1e-10, atol=1e-10)


def test_the_convolution_absorbs_scale_and_shift_away_from_borders() -> None:
    torch.manual_seed(0)
    affine, plain, x = WhitenedUnit(4, 5, 3, norm=IterNorm).double(), WhitenedUnit(4, 5, 3).double(), correlated(3, 4, 6, 6)
    with torch.no_grad():
        scale, shift = affine.norm.weight.normal_(), affine.norm.bias.normal_()
        plain.conv.weight.copy_(affine.conv.weight * scale[:, None, None])
        plain.conv.bias.copy_(affine.conv.bias + torch.einsum("oikl,i->o", affine.conv.weight, shift))
    with_affine, folded = affine(x), plain(x)
    torch.testing.assert_close(folded[..., 1:-1, 1:-1], with_affine[..., 1:-1, 1:-1], rtol=0, atol=1e-6)
    assert not torch.allclose(folded, with_affine, atol=1e-6)


def test_the_residual_network_has_norms_before_every_convolution_but_the_stems_and_one_before_the_head() -> None:
    network = whitened("resnet20", block=basic_block)
    found = norms(network)
    assert not [name for name in found if "stem" in name]
    assert found["trunk.stage2.0.branch.unit1.norm"] == 16
    assert found["trunk.stage2.0.branch.unit2.norm"] == 32
    assert found["trunk.stage2.0.shortcut.norm"] == 16
    assert found["trunk.norm"] == 64
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert len(found) == len(convolutions) - 1 + 1  # all but the stem's, and the head's
    assert all(conv.bias is not None for conv in convolutions)
    assert [type(module) for module in network.trunk.stage2[0].branch.unit2] == [IterNorm, nn.Conv2d]


def test_the_bottleneck_has_norms_of_the_widths_before_its_convolutions() -> None:
    found = norms(whitened("resnet50", num_classes=10))
    assert [found[f"trunk.stage2.0.branch.unit{i}.norm"] for i in (1, 2, 3)] == [256, 128, 128]
    assert found["trunk.stage2.0.shortcut.norm"] == 256
    assert found["trunk.norm"] == 2048


def test_the_wide_network_rectifies_then_whitens_then_convolves() -> None:
    network = whitened("wrn_10_2")
    block = network.trunk.stage1[0]
    assert [type(module) for module in block.preactivation] == [nn.ReLU, IterNorm]
    assert [type(module) for module in block.branch] == [nn.Conv2d, nn.Sequential, Dropout, nn.Conv2d]
    assert [type(module) for module in network.trunk.preactivation] == [nn.ReLU, IterNorm]
    assert isinstance(network.trunk.stem, nn.Conv2d)
    assert block.projection is not None
    widths = norms(network)
    assert (widths["trunk.stage1.0.preactivation.norm"], widths["trunk.stage1.0.branch.preactivation2.norm"]) == (16, 32)


@pytest.mark.parametrize("build", [partial(whitened, "wrn_10_1"), partial(whitened, "resnet20", block=basic_block, depths=(1, 1, 1))])
def test_networks_train_with_every_gradient(build: partial[nn.Module]) -> None:
    torch.manual_seed(0)
    network, x = build(), torch.randn(4, 3, 16, 16)
    F.cross_entropy(network(x), torch.arange(4)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    logits = network.eval()(x)
    assert logits.isfinite().all()
    assert torch.equal(logits, network(x))
