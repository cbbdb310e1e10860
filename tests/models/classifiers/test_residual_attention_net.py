"""Depths and masks of the residual attention networks (arXiv 1704.06904)."""

import pytest
import torch

from gconv_gan.layers.blocks.residual_attention import ResidualAttention
from gconv_gan.models.classifiers.named import build_classifier
from gconv_gan.models.classifiers.residual_attention_net import ResidualAttentionNet, cifar_stages


def modules(name: str) -> list[ResidualAttention]:
    with torch.device("meta"):
        return [module for module in build_classifier(name).modules() if isinstance(module, ResidualAttention)]


@pytest.mark.parametrize("depth", [56, 92, 128, 164, 236, 452])
def test_the_name_is_the_depth_of_the_trunk(depth: int) -> None:
    found = modules(f"attention_{depth}_cifar")
    trunk = sum(len(module.pre) + len(module.trunk) + len(module.post) for module in found)
    assert 3 * trunk + 20 == depth


@pytest.mark.parametrize(("name", "counts"), [("attention_56", (1, 1, 1)), ("attention_92", (1, 2, 3)), ("attention_92_cifar", (2, 2, 2))])
def test_masks_pool_thrice_twice_once(name: str, counts: tuple[int, ...]) -> None:
    poolings = [len(module.mask.down) + 1 for module in modules(name)]
    assert poolings == [3] * counts[0] + [2] * counts[1] + [1] * counts[2]


@pytest.mark.parametrize("size", [33, 30])
def test_sizes_that_do_not_halve(size: int) -> None:
    network = ResidualAttentionNet(stages=cifar_stages(1, (8, 8, 8)), num_classes=3)
    assert network(torch.randn(2, 3, 4 * size, 4 * size)).shape == (2, 3)
