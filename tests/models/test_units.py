"""Convolution, norm, activation and order of every adversarial network by config: built layers, training, refusals."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gconv_gan.layers import (
    BatchNorm2d,
    ClassConditionalNorm2d,
    ConditionalBatchNorm2d,
    GroupNorm,
    GroupNormPlus,
    InvariantConv2d,
    IterNorm,
    LatentNorm2d,
)
from gconv_gan.layers.activations import activation_gain
from gconv_gan.layers.conditioning import Condition, apply
from gconv_gan.layers.tables import ACTIVATIONS
from gconv_gan.models.gan.blocks import GeneratorBlock
from gconv_gan.models.gan.resnet import ResNetGenerator
from gconv_gan.optim.learning_rates import hold_learning_rates, set_learning_rate
from gconv_gan.optim.optimizers import adam
from tests.models.test_contract import CLASSES, DISCRIMINATORS, GENERATORS, discriminator, generator, inputs

NORMS: dict[str, type[nn.Module]] = {"batch": BatchNorm2d, "iter": IterNorm, "group": GroupNorm, "group_plus": GroupNormPlus}


def choices() -> Iterator[Any]:
    for kind in GENERATORS:
        for norm in ("iter", "group", "group_plus"):
            yield pytest.param(kind, True, {"norm": {"kind": norm}}, id=f"G {kind} {norm}")
        yield pytest.param(kind, True, {"activation": "elu", "norm": {"kind": "batch", "initial_scale": 0.1}}, id=f"G {kind} elu")
        if kind != "dcgan":
            invariant = {"conv": {"kind": "invariant", "block_size": 4}, "norm": {"kind": "group"}}
            yield pytest.param(kind, True, invariant, id=f"G {kind} invariant")
        if "order" in GENERATORS.models()[kind].model_fields:
            yield pytest.param(kind, True, {"order": "whitened", "norm": {"kind": "iter"}}, id=f"G {kind} whitened")
    for kind in DISCRIMINATORS:
        for norm in NORMS:
            yield pytest.param(kind, False, {"block_norm": {"kind": norm}, "norm": {"kind": "none"}}, id=f"D {kind} {norm}")
        yield pytest.param(kind, False, {"conv": {"kind": "invariant"}, "activation": "elu"}, id=f"D {kind} invariant, elu")
        yield pytest.param(kind, False, {"conv": {"kind": "ghost"}, "attention": [4]}, id=f"D {kind} ghost")


@pytest.mark.parametrize(("kind", "makes_images", "options"), list(choices()))
def test_every_choice_trains(kind: str, makes_images: bool, options: dict[str, Any]) -> None:
    network = generator(kind, size=16, **options) if makes_images else discriminator(kind, size=16, **options)
    x, y = inputs(network)
    out = network(x, y)
    out.square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    torch.testing.assert_close(network.eval()(x[:1], y[:1]), network(x, y)[:1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["iter", "group", "group_plus"])
def test_a_norm_takes_scale_and_shift_of_the_class_or_of_the_blocks_vector(kind: str) -> None:
    conditional = generator("resnet", norm={"kind": kind})
    assert type(conditional.blocks[0].norm1) is ClassConditionalNorm2d
    assert type(conditional.blocks[0].norm1.norm) is NORMS[kind]
    assert conditional.blocks[0].norm1.norm.weight is None
    assert type(conditional.last_norm) is NORMS[kind]
    assert conditional.last_norm.weight is not None
    unconditional = generator("resnet", classes=None, norm={"kind": kind})
    assert type(unconditional.blocks[0].norm1) is NORMS[kind]
    by_vector = generator("biggan", norm={"kind": kind})
    assert type(by_vector.blocks[0].norm1) is LatentNorm2d
    assert type(by_vector.blocks[0].norm1.norm) is NORMS[kind]


def test_options_reach_the_layers() -> None:
    whitening = generator("resnet", classes=None, norm={"kind": "iter", "group_size": 4, "iterations": 3, "running": "covariance"})
    statistics = whitening.last_norm.statistics
    assert (statistics.running_matrix.shape[1], statistics.iterations, statistics.running) == (4, 3, "covariance")
    conv = {"kind": "invariant", "local_norm": "l1", "block_size": 8, "sampling_stride": 2, "iterations": 7, "freeze": True}
    layer = generator("resnet", classes=None, conv=conv, norm={"kind": "none"}).blocks[0].conv1
    assert (layer.local_norm, layer.block, layer.sampling_stride) == ("l1", 8, 2)
    assert (layer.whitening.iterations, layer.whitening.freeze, layer.resample) == (7, True, "up")
    assert discriminator("resnet", block_norm={"kind": "group", "num_groups": 2}).blocks[1].norm1.num_groups == 2


def test_whitening_without_scale_and_shift_takes_none_of_the_class() -> None:
    with pytest.raises(ValueError, match="does not depend on the class"):
        generator("resnet", norm={"kind": "iter", "affine": False})
    bare = generator("resnet", classes=None, norm={"kind": "iter", "affine": False})
    assert bare.blocks[0].norm1.weight is None


@pytest.mark.parametrize("kind", GENERATORS)
def test_attention_follows_the_map_of_that_side(kind: str) -> None:
    for network, side in ((generator(kind, size=16, attention=[8]), 8), (discriminator(kind, size=16, attention=[4]), 4)):
        (layer,) = network.attention.values()
        sides = []
        layer.register_forward_pre_hook(lambda _, args, sides=sides: sides.append(args[0].shape[2:]))
        network(*inputs(network))
        assert sides == [(side, side)]
    with pytest.raises(ValueError, match="no block ends at 5 px"):
        generator(kind, size=16, attention=[5])


def test_the_discriminators_layers_that_see_images_are_plain() -> None:
    network = discriminator("resnet", conv={"kind": "invariant"})
    first, second = network.blocks[0], network.blocks[1]
    assert not isinstance(first.conv1, InvariantConv2d)
    assert all(isinstance(conv, InvariantConv2d) for conv in (first.conv2, second.conv1, second.conv2))
    assert second.conv1.whitening is None
    assert isinstance(discriminator("resnet", block_norm={"kind": "group"}).blocks[0].norm1, nn.Identity)
    chain = discriminator("dcgan", size=16, conv={"kind": "invariant"}).convs
    assert [isinstance(conv, InvariantConv2d) for conv in chain] == [False, True]


def test_scales_start_where_the_config_says() -> None:
    network = generator("resnet", norm={"kind": "batch", "initial_scale": 0.1, "last_initial_scale": 0.5})
    assert (network.blocks[0].norm1.scale.weight == 0.1).all()
    assert (network.last_norm.weight == 0.5).all()
    scattered = generator("dcgan", classes=None)
    assert scattered.norms[0].weight.std() > 0
    chain = generator("dcgan", size=16, classes=None, norm={"kind": "batch", "initial_scale": 0.1})
    assert (chain.norms[0].weight == 0.1).all()
    assert (chain.norms[-1].weight == 1.0).all()
    norms = discriminator("dcgan", size=32, block_norm={"kind": "batch", "initial_scale": 0.2}).norms
    assert all((norm.weight == 0.2).all() for norm in norms[1:])


@pytest.mark.parametrize("kind", GENERATORS)
def test_scales_of_conditional_norms_learn_by_their_own_rate(kind: str) -> None:
    network = generator(kind, size=16, norm={"kind": "batch", "initial_scale": 0.1})
    optimizer = adam(network, norm_scale_divisor=100.0, eps=1e-30)
    hold_learning_rates(optimizer, torch.device("cpu"))
    set_learning_rate(optimizer, 0.01)
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    network(*inputs(network)).square().sum().backward()
    optimizer.step()
    steps = {name: (parameter - before[name]).abs().max().item() for name, parameter in network.named_parameters()}
    slow = {name for name, step in steps.items() if step < 0.001}  # Adam's first step is the learning rate
    last = {"dcgan": set(), "skip": set()}.get(kind, {"last_norm.weight"})
    assert slow == {name for name in steps if ".scale." in name} | last
    for name in slow:
        assert steps[name] == pytest.approx(1e-4, rel=1e-3)


def test_convolutions_start_by_the_gain_of_the_activation() -> None:
    def deviation(name: str) -> float:
        network = generator("resnet", width=64, activation=name)
        return network.blocks[0].conv1.weight.std().item()

    assert deviation("relu") == pytest.approx((2.0 * 2 / (9 * (64 + 64))) ** 0.5, rel=0.02)
    for name in ("elu", "selu", "tanh"):
        assert deviation(name) / deviation("relu") == pytest.approx(activation_gain(ACTIVATIONS[name]) / 2**0.5, rel=1e-4)


def test_networks_compute_with_the_chosen_activation() -> None:
    torch.manual_seed(0)
    block = discriminator("resnet", norm={"kind": "none"}, activation="elu").blocks[1].double()
    x = torch.randn(2, 16, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(block(x), block.conv2(F.elu(block.conv1(F.elu(x)))) + block.shortcut(x))
    network = generator("dcgan", classes=None, activation="elu").double()
    z = torch.randn(2, 60, dtype=torch.float64)
    h = F.elu(network.norms[0](network.linear(z).view(2, -1, 4, 4)))
    torch.testing.assert_close(network(z), torch.tanh(network.to_rgb(h)))


@pytest.mark.parametrize(("kind", "pixels"), [("resnet", 16), ("biggan", 16), ("skip", 16)])
def test_the_mean_over_pixels_is_the_sum_divided(kind: str, pixels: int) -> None:
    of_sum, of_mean = (discriminator(kind, norm={"kind": "none"}, pooling=pooling).double() for pooling in ("sum", "mean"))
    images = torch.rand(4, 3, 8, 8, dtype=torch.float64) * 2 - 1
    torch.testing.assert_close(of_mean.features(images), of_sum.features(images) / pixels)
    assert of_sum.features(images).abs().max() > 0.1


def test_the_whitened_order_normalises_what_the_convolution_sees() -> None:
    torch.manual_seed(0)
    norm = ConditionalBatchNorm2d
    block = GeneratorBlock(4, 6, conv=_conv, norm=lambda c: norm(c, CLASSES), order="whitened").double()
    x, condition = torch.randn(3, 4, 4, 4, dtype=torch.float64), Condition(y=torch.arange(3))
    h = apply(block.conv1, apply(block.norm1, F.relu(x), condition), condition)
    h = apply(block.conv2, apply(block.norm2, F.relu(h), condition), condition)
    torch.testing.assert_close(block(x, condition), h + block.shortcut(x))
    network = ResNetGenerator(image_size=8, width=8, latent_dim=4, order="whitened").double()
    seen = []
    network.to_rgb.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    network(torch.randn(8, 4, dtype=torch.float64))
    torch.testing.assert_close(seen[0].mean((0, 2, 3)), torch.zeros(8).double(), rtol=0, atol=1e-6)


def _conv(*args: Any, **kwargs: Any) -> nn.Module:
    return InvariantConv2d(*args, whiten=False, local_norm="none", **kwargs)


def test_contradictory_options_are_refused() -> None:
    with pytest.raises(ValueError, match="depend on neither z nor class"):
        generator("biggan", classes=None, conv={"kind": "invariant"}, norm={"kind": "none"})
    with pytest.raises(ValueError, match="mostly inserted zeros"):
        generator("dcgan", size=16, classes=None, conv={"kind": "invariant"})
