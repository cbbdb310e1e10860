"""Positions of the norms in residual networks of both orders (arXiv 2108.10629), and the maps of each stage."""

import pytest
import torch
from torch import nn

from gconv_gan.layers import IterNorm
from gconv_gan.models.classifiers.named import build_classifier


def bare(channels: int) -> nn.Module:
    return IterNorm(channels, affine=False)


def whitened(name: str, **options: object) -> nn.Module:
    with torch.device("meta"):
        return build_classifier(name, order="whitened", norm=bare, **options)


def test_a_whitened_network_has_no_norm_in_its_stem_and_one_before_its_head() -> None:
    small, large = whitened("resnet20").trunk, whitened("resnet50").trunk
    for trunk in (small, large):
        assert not any(isinstance(module, IterNorm) for module in trunk.stem.modules())
    names = [name for name, _ in small.named_children()]
    assert names == ["stem", "stage1", "stage2", "stage3", "norm"]
    assert [name for name, _ in large.named_children()] == [*("stem", "stage1", "stage2", "stage3", "stage4"), "pool", "norm"]
    assert (small.norm.num_features, large.norm.num_features) == (64, 2048)
    convolutions = [module for module in large.modules() if isinstance(module, nn.Conv2d)]
    assert sum(isinstance(module, IterNorm) for module in large.modules()) == len(convolutions)  # not the stem's, but the head's
    assert all(conv.bias is not None for conv in convolutions)


def test_norms_of_a_whitened_bottleneck_have_the_widths_of_inputs() -> None:
    block = whitened("resnet50").trunk.stage2[0]
    assert [unit.norm.num_features for unit in block.branch] == [256, 128, 128]
    assert [type(step).__name__ for step in block.shortcut] == ["IterNorm", "Conv2d"]
    assert block.shortcut.norm.num_features == 256
    assert block.shortcut.conv.bias is not None


def test_a_whitened_wide_network_rectifies_first() -> None:
    trunk = whitened("wrn_16_4").trunk
    assert isinstance(trunk.stem, nn.Conv2d)
    for preactivation in (trunk.stage1[0].preactivation, trunk.stage3[1].branch.preactivation2, trunk.preactivation):
        assert [type(step) for step in preactivation] == [nn.ReLU, IterNorm]


@pytest.mark.parametrize(
    ("name", "sides"),
    [
        ("sknet50", [56, 56, 28, 14, 7]),
        ("resnet50", [56, 56, 28, 14, 7]),
        ("regnetx_032", [112, 56, 28, 14, 7]),
        ("attention_56", [56, 56, 28, 14, 7]),
        ("sknet29", [32, 32, 16, 8]),
        ("resnet56", [32, 32, 16, 8]),
        ("attention_452_cifar", [32, 32, 16, 8]),
        ("ghostnet_100", [112, 112, 56, 28, 14, 7]),
        ("ghostnet_100_cifar", [32, 32, 32, 16, 8, 4]),
    ],
)
def test_maps_of_the_stages(name: str, sides: list[int]) -> None:
    with torch.device("meta"):
        network = build_classifier(name)
    network = network.to_empty(device="cpu").eval()
    seen: list[int] = []
    for child, module in network.trunk.named_children():
        if child == "stem" or child.startswith("stage"):
            module.register_forward_hook(lambda *call: seen.append(call[2].shape[3]))
    network(torch.empty(0, 3, network.image_size, network.image_size))
    assert seen == sides
