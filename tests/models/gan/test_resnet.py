"""Exact sizes of the SNGAN, WGAN-GP and cGAN-PD networks (arXiv 1802.05957, 1704.00028, 1802.05637), and the equations of their blocks."""

from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize

from gconv_gan.commands.train.networks import build_networks
from gconv_gan.config.load import load_config
from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.layers.conditioning import Condition
from gconv_gan.layers.dynamic.gconv import GConv2d
from gconv_gan.models.gan.blocks import DiscriminatorBlock
from gconv_gan.models.gan.resnet import ResNetDiscriminator, ResNetGenerator
from gconv_gan.models.summary import summarise

CONFIGS = Path(__file__).parents[3] / "configs" / "gan"


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def generator(size: int, width: int, classes: int | None = None, **gconv: object) -> ResNetGenerator:
    options = {"conv": partial(GConv2d, latent_dim=128, **gconv)} if gconv else {}
    return ResNetGenerator(image_size=size, width=width, num_classes=classes, **options)


@pytest.mark.parametrize(
    ("size", "width", "classes", "expected"),
    [
        (32, 256, None, 4_276_739),
        (64, 1024, None, 12_220_675),
        (128, 1024, None, 32_150_787),
        (32, 256, 10, 4_304_387),
        (32, 256, 100, 4_580_867),
        (64, 1024, 200, 13_366_915),
        (128, 1024, 200, 34_112_131),
        (128, 1024, 1000, 41_996_931),
    ],
)
def test_generator_parameters(size: int, width: int, classes: int | None, expected: int) -> None:
    with torch.device("meta"):
        assert parameters(generator(size, width, classes)) == expected


@pytest.mark.parametrize(
    ("size", "width", "middle", "classes", "expected"),
    [
        (32, 128, "thin", None, 1_053_825),
        (32, 128, "wide", None, 1_053_825),
        (64, 1024, "thin", None, 10_141_441),
        (64, 1024, "wide", None, 19_542_721),
        (128, 1024, "thin", None, 29_017_857),
        (128, 1024, "wide", None, 38_419_137),
        (32, 128, "thin", 10, 1_055_105),
        (32, 128, "thin", 100, 1_066_625),
        (64, 1024, "thin", 200, 10_346_241),
        (64, 1024, "wide", 200, 19_747_521),
        (128, 1024, "thin", 1000, 30_041_857),
        (128, 1024, "thin", 200, 29_222_657),
    ],
)
def test_discriminator_parameters(size: int, width: int, middle: str, classes: int | None, expected: int) -> None:
    with torch.device("meta"):
        network = ResNetDiscriminator(image_size=size, width=width, middle=middle, num_classes=classes)
        assert parameters(network) == expected


@pytest.mark.parametrize(("name", "expected"), [("cifar10_wgan_gp", 4_276_739), ("cifar10_wgan_gp_gconv", 4_868_099)])
def test_the_published_sizes_of_wgan_gp(name: str, expected: int) -> None:
    config = load_config(GANRunConfig, CONFIGS / f"{name}.toml")
    g, d = build_networks(config, None)
    assert (parameters(g), parameters(d)) == (expected, 1_053_825)
    assert not any(isinstance(module, nn.modules.batchnorm._NormBase | nn.GroupNorm) for module in d.modules())
    assert not any(parametrize.is_parametrized(module) for module in d.modules())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"mode": "dictionary"}, 4_868_099),
        ({"mode": "bank", "num_kernels": 2}, 7_817_231),
        ({"mode": "bank", "num_kernels": 4}, 14_896_667),
        ({"mode": "bank", "num_kernels": 8}, 29_055_539),
    ],
)
def test_gconv_generator_parameters(options: dict[str, object], expected: int) -> None:
    assert parameters(generator(32, 256, **options)) == expected


@pytest.mark.parametrize(("kernels", "expected"), [(2, 8_014_613), (4, 15_488_039), (8, 30_434_891)])
def test_bank_generator_parameters_with_generative_shortcuts(kernels: int, expected: int) -> None:
    conv = partial(GConv2d, latent_dim=128, mode="bank", num_kernels=kernels)
    assert parameters(ResNetGenerator(image_size=32, width=256, conv=conv, conv_in_shortcuts=True)) == expected


def macs(network: nn.Module) -> int:
    return sum(row.macs for row in summarise(network, torch.zeros(1, 128)))


def published_macs(network: nn.Module, x: torch.Tensor) -> int:
    """Return the multiply-adds with separate resampling: a convolution applies its kernel to every pixel before pooling."""
    found: list[int] = []

    def count(layer: nn.Conv2d | nn.Linear, _: object, y: torch.Tensor) -> None:
        found.append(layer.weight.numel() * y.shape[2:].numel() * (4 if getattr(layer, "resample", "") == "down" else 1))

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    network(x)
    return sum(found)


@pytest.mark.parametrize(("size", "width", "published"), [(32, 256, 1_681_129_472), (64, 1024, 1_955_332_096), (128, 1024, 9_090_105_344)])
def test_generator_macs(size: int, width: int, published: int) -> None:
    assert published_macs(generator(size, width).eval(), torch.zeros(1, 128)) == published


def test_fused_resampling_takes_fewer_macs() -> None:
    assert macs(generator(32, 256)) == 1_174_667_264


def test_gconv_adds_what_the_layer_promises() -> None:
    plain = macs(generator(32, 256))
    dictionary = macs(generator(32, 256, mode="dictionary"))
    bank = macs(generator(32, 256, mode="bank", num_kernels=4))
    gates = 6 * 128
    # gate products N·S are element-wise and not counted as multiply-adds of a layer
    element_wise = 2 * 256 * (64 + 256 + 1024)
    assert dictionary - plain == 176_848_896 - element_wise + gates * 256
    assert bank - plain == 14_155_776 + gates * 4


@pytest.mark.parametrize(
    ("size", "width", "middle", "published"),
    [
        (32, 128, "thin", 272_072_832),
        (64, 1024, "thin", 644_809_728),
        (64, 1024, "wide", 1_097_794_560),
        (128, 1024, "thin", 2_881_225_728),
        (128, 1024, "wide", 4_693_165_056),
    ],
)
def test_discriminator_macs(size: int, width: int, middle: str, published: int) -> None:
    network = ResNetDiscriminator(image_size=size, width=width, middle=middle)
    # the published code pools before the first block's shortcut already
    pooled_first = 3 * network.blocks[0].shortcut.out_channels * (size**2 - (size // 2) ** 2)
    assert published_macs(network, torch.empty(0, 3, size, size)) - pooled_first == published


def test_the_projection_head_differs_between_classes_by_the_embeddings() -> None:
    torch.manual_seed(0)
    d = ResNetDiscriminator(image_size=32, width=8, num_classes=4)
    x = torch.randn(3, 3, 32, 32)
    h = F.relu(d.blocks(x)).sum((2, 3))
    a, b = torch.tensor([0, 1, 2]), torch.tensor([3, 3, 1])
    expected = ((d.embedding.weight[a] - d.embedding.weight[b]) * h).sum(1)
    torch.testing.assert_close(d(x, a) - d(x, b), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("preact", [False, True])
def test_the_shortcut_sees_the_raw_or_the_rectified_input_and_the_input_survives(preact: bool) -> None:
    torch.manual_seed(0)
    block = DiscriminatorBlock(4, 4, 6, down=False, shortcut_preact=preact)
    nn.init.zeros_(block.conv2.weight)
    nn.init.zeros_(block.conv2.bias)
    x = torch.randn(2, 4, 8, 8)
    before = x.clone()
    torch.testing.assert_close(block(x), block.shortcut(F.relu(x) if preact else x))
    assert torch.equal(x, before)


def test_the_generator_block_is_what_the_paper_says() -> None:
    torch.manual_seed(0)
    block = ResNetGenerator(image_size=8, width=6, latent_dim=4).blocks[0].double()
    x = torch.randn(2, 6, 4, 4, dtype=torch.float64)

    def up(t: torch.Tensor) -> torch.Tensor:
        return t.repeat_interleave(2, 2).repeat_interleave(2, 3)

    h = F.conv2d(up(F.relu(block.norm1(x))), block.conv1.weight, block.conv1.bias, padding=1)
    h = F.conv2d(F.relu(block.norm2(h)), block.conv2.weight, block.conv2.bias, padding=1)
    expected = h + F.conv2d(up(x), block.shortcut.weight, block.shortcut.bias)
    torch.testing.assert_close(block(x, Condition()), expected)
