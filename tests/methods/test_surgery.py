"""Units of every network of the package: what is cut computes what is held at 0, and a cut network is rebuilt from plain data."""

import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize

from gconv_gan.config.errors import UserError
from gconv_gan.layers.dynamic.gconv import GConv2d
from gconv_gan.layers.lipschitz.spectral_norm import PowerIterations, apply_spectral_norm
from gconv_gan.layers.lipschitz.weight_norms import ConvNorms
from gconv_gan.layers.slicing import UnsliceableError
from gconv_gan.layers.weights import stored, weights_of
from gconv_gan.methods.method import PlayerName
from gconv_gan.methods.surgery import Reading, Units, cut, example_inputs, find_units, hold, units_of
from gconv_gan.models.classifiers.named import build_classifier
from gconv_gan.models.classifiers.transformer import PostNormTransformer
from gconv_gan.models.classifiers.vgg import VGG
from gconv_gan.models.gan.biggan import BigGANDiscriminator, BigGANGenerator
from gconv_gan.models.gan.dcgan import DCGANDiscriminator, DCGANGenerator
from gconv_gan.models.gan.resnet import ResNetDiscriminator, ResNetGenerator
from gconv_gan.models.gan.skip import SkipGenerator

Conv = Callable[..., nn.Module]


def gconv(**options: Any) -> Conv:
    return partial(GConv2d, **options)


def spectral(network: nn.Module) -> nn.Module:
    return apply_spectral_norm(network, embeddings=False)


def conv_normed(network: nn.Module) -> nn.Module:
    ConvNorms(scale="sqrt_out")(network)
    return network


G: dict[str, Any] = {"image_size": 16, "width": 16, "latent_dim": 12, "num_classes": 3}
D: dict[str, Any] = {"image_size": 16, "width": 16, "num_classes": 3}
NETWORKS: dict[str, tuple[PlayerName, Callable[[], nn.Module]]] = {
    "plain chain": ("classifier", lambda: VGG(depths=(1, 1, 1, 1, 1), widths=(8, 8, 12, 12, 16), hidden=(16,))),
    "zero-padded residual": ("classifier", lambda: build_classifier("resnet20")),
    "wide residual": ("classifier", lambda: build_classifier("wrn_10_1")),
    "bottlenecks": ("classifier", lambda: build_classifier("resnet50_cifar", image_size=8, widths=(16, 32, 64, 128), stem_width=16)),
    "groups": ("classifier", lambda: build_classifier("resnext29_32x4d", image_size=8, widths=(64, 64, 64))),
    "selective kernels": ("classifier", lambda: build_classifier("sknet29", image_size=8, widths=(32, 32, 64))),
    "ghosts": ("classifier", lambda: build_classifier("ghost_vgg16_s3", widths=(7, 8, 9, 10, 11))),
    "ghost bottlenecks": ("classifier", lambda: build_classifier("ghostnet_100_cifar", width=0.25)),
    "transformer": ("classifier", lambda: PostNormTransformer(image_size=8, width=8, depth=2, heads=2, patch_size=2)),
    "dcgan": ("generator", lambda: DCGANGenerator(**{**G, "num_classes": None})),
    "dcgan, gconv": ("generator", lambda: DCGANGenerator(**G, conv=gconv())),
    "sngan": ("generator", lambda: ResNetGenerator(**G)),
    "sngan, dictionary": ("generator", lambda: ResNetGenerator(**G, conv=gconv(bias="dynamic"), conv_in_shortcuts=True)),
    "sngan, open dictionary": ("generator", lambda: ResNetGenerator(**G, conv=gconv(selection="open", num_kernels=24))),
    "sngan, bank": ("generator", lambda: ResNetGenerator(**G, conv=gconv(mode="bank", bias="dynamic"))),
    "sngan, softmax bank": ("generator", lambda: ResNetGenerator(**G, conv=gconv(mode="bank", selection="softmax", temperature=30.0))),
    "sngan, top of a bank": ("generator", lambda: ResNetGenerator(**G, conv=gconv(mode="bank", selection="top_m", top_m=2))),
    "sngan, filter gates": ("generator", lambda: ResNetGenerator(**G, conv=gconv(mode="bank", granularity="filter"))),
    "sngan, channel gates": ("generator", lambda: ResNetGenerator(**G, conv=gconv(mode="bank", granularity="channel"))),
    "biggan, dictionary, spectral norm": ("generator", lambda: spectral(BigGANGenerator(**G, attention=[8], conv=gconv()))),
    "biggan, bank, spectral norm": ("generator", lambda: spectral(BigGANGenerator(**G, conv=gconv(mode="bank")))),
    "skip": ("generator", lambda: SkipGenerator(**G, conv=gconv())),
    "spectral discriminator": ("discriminator", lambda: apply_spectral_norm(ResNetDiscriminator(**D, attention=[4]))),
    "spectral dcgan": ("discriminator", lambda: apply_spectral_norm(DCGANDiscriminator(**D))),
    "conv-norm discriminator": ("discriminator", lambda: conv_normed(BigGANDiscriminator(**D))),
}


def made(name: str) -> tuple[PlayerName, nn.Module]:
    """Return a network in evaluation mode whose every channel counts, in float64."""
    torch.manual_seed(0)
    player, build = NETWORKS[name]
    network = build().double().eval()
    for parameter in network.parameters():
        if not parameter.any() or (parameter == 1).all():
            nn.init.normal_(parameter, 0.5, 0.5)
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return player, network


def inputs_of(player: PlayerName, network: nn.Module) -> list[Tensor | None]:
    return [one if one is None or not one.is_floating_point() else one.double() for one in example_inputs(player, network)]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_cut_network_computes_what_the_held_one_does_and_is_rebuilt_bit_for_bit(name: str) -> None:
    player, network = made(name)
    _, held = made(name)
    _, again = made(name)
    inputs = inputs_of(player, network)
    units = find_units(network, *inputs)
    before: Tensor = network(*inputs)
    order = torch.randperm(len(units), generator=torch.Generator().manual_seed(1)).tolist()
    removed = units.removable(order, len(units) // 3)
    assert len(removed) == len(units) // 3 > 2
    hold(held, units, removed)
    expected = held(*inputs)
    assert not torch.allclose(before, expected, atol=1e-6)

    cut(network, units, removed[:2])  # in two parts, as a run may
    cut(network, units, removed[2:], before=removed[:2])
    torch.testing.assert_close(network(*inputs), expected, rtol=0, atol=1e-10 * max(1.0, float(expected.detach().abs().max())))
    assert sum(p.numel() for p in network.parameters()) < sum(p.numel() for p in held.parameters())

    facts = json.loads(json.dumps(units.facts()))
    cut(again, Units.from_facts(facts), removed)
    again.load_state_dict(network.state_dict())
    assert torch.equal(again(*inputs), network(*inputs))
    network(*inputs).sum().backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in network.parameters() if p.grad is not None)


SINGLE = ["plain chain", "wide residual", "transformer", "dcgan, gconv", "sngan, dictionary", "spectral discriminator"]


@pytest.mark.parametrize("name", SINGLE)
def test_in_float32_they_differ_by_rounding(name: str) -> None:
    (player, network), (_, held) = (made(name) for _ in range(2))
    network.float()
    held.float()
    inputs = example_inputs(player, network)
    units = find_units(network, *inputs)
    removed = units.removable(torch.randperm(len(units), generator=torch.Generator().manual_seed(2)).tolist(), len(units) // 4)
    hold(held, units, removed)
    cut(network, units, removed)
    expected: Tensor = held(*inputs).detach()
    torch.testing.assert_close(network(*inputs), expected, rtol=0, atol=1e-5 * max(1.0, float(expected.abs().max())))


def test_nothing_cut_changes_nothing() -> None:
    player, network = made("spectral discriminator")
    inputs = inputs_of(player, network)
    before = network(*inputs)
    cut(network, find_units(network, *inputs), [])
    assert torch.equal(network(*inputs), before)


def test_a_cut_spectral_norm_is_one_again_after_some_steps() -> None:
    player, network = made("spectral discriminator")
    inputs = inputs_of(player, network)
    units = find_units(network, *inputs)
    cut(network, units, units.removable(range(len(units)), len(units) // 2))
    iterations = PowerIterations(network)
    for _ in range(300):
        iterations.advance()
    for layer, name in weights_of(network, embeddings=True):
        assert stored(layer, name).numel()
        torch.testing.assert_close(
            torch.linalg.matrix_norm(getattr(layer, name).flatten(1), 2), torch.ones((), dtype=torch.double), rtol=1e-3, atol=0
        )


def test_with_the_normalised_weights_baked_in_a_cut_discriminator_is_exact_at_once() -> None:
    _, network = made("spectral discriminator")
    held, without = (ResNetDiscriminator(**D, attention=[4]).double().eval() for _ in range(2))
    baked = {name: tensor for name, tensor in network.state_dict().items() if "parametrizations" not in name}
    for layer_name, layer in network.named_modules():
        if parametrize.is_parametrized(layer, "weight"):
            baked[f"{layer_name}.weight"] = layer.weight.detach()
    for plain in (held, without):
        plain.load_state_dict(baked)
    inputs = inputs_of("discriminator", network)
    torch.testing.assert_close(held(*inputs), network(*inputs), rtol=0, atol=1e-12)
    units = find_units(network, *inputs)
    removed = units.removable(range(len(units)), len(units) // 2)
    hold(held, units, removed)
    cut(without, units, removed)
    torch.testing.assert_close(without(*inputs), held(*inputs), rtol=0, atol=1e-10)


# ---- what a unit is ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "gates", "removals", "left"), [("resnet50", 11392, 32, 8192), ("resnet101", 20096, 120, 8096)])
def test_the_gates_of_the_paper_s_networks(name: str, gates: int, removals: int, left: int) -> None:
    with torch.device("meta"):
        network = build_classifier(name)
    units = find_units(network, torch.empty(1, 3, 224, 224))
    stem = set(units.of("trunk.stem.unit.conv", "outputs"))  # which has no gate in the paper
    assert len(stem) == 64
    assert len(units) - len(stem) == gates
    removed = units.removable([unit for unit in range(len(units)) if unit not in stem], 100 * removals)
    assert gates - len(removed) == left


def test_a_channel_of_a_stage_is_removed_in_every_block_at_once() -> None:
    _, network = made("wide residual")
    units = find_units(network, *inputs_of("classifier", network))
    stream = [units.of(f"trunk.stage2.0.{name}", "outputs") for name in ("branch.conv2", "projection")]
    assert stream[0] == stream[1] == units.of("trunk.stage3.0.preactivation.norm", "outputs")
    assert stream[0] == units.of("trunk.stage3.0.branch.conv1", "inputs") == units.of("trunk.stage3.0.projection", "inputs")
    assert not set(stream[0]) & set(units.of("trunk.stage2.0.branch.conv1", "outputs"))


def test_images_logits_and_conditions_are_no_units() -> None:
    network = BigGANGenerator(**G, conv=gconv())
    units = find_units(network, *example_inputs("generator", network))
    assert not units.of("to_rgb", "outputs")
    assert not units.of("shared", "outputs")
    critic = ResNetDiscriminator(**D)
    units = find_units(critic, *example_inputs("discriminator", critic))
    assert not units.of("blocks.0.conv1", "inputs")
    assert not units.of("linear", "outputs")
    assert units.of("embedding", "inputs") == units.of("linear", "inputs")


def test_filters_and_kernels_are_units_on_request_alone() -> None:
    for conv, layer, count in ((gconv(), "blocks.0.conv1", 16), (gconv(mode="bank", num_kernels=3), "blocks.1.conv2", 3)):
        network = ResNetGenerator(**G, conv=conv)
        inputs = example_inputs("generator", network)
        assert len(set(find_units(network, *inputs).of(layer, "kernels"))) == count
        assert not find_units(network, *inputs, kernels=False).of(layer, "kernels")


def test_every_axis_keeps_its_least_number_of_channels() -> None:
    network = ResNetGenerator(**G, conv=gconv(mode="bank", selection="top_m", top_m=2))
    units = find_units(network, *example_inputs("generator", network))
    removed = units.removable(range(len(units)), len(units))
    for slot in units.slots():
        left = {units.of(*slot)[channel] for channel in units.left(slot, removed)}
        assert len(left) == (2 if slot[1] == "kernels" else 1)


def test_a_generator_of_dictionaries_is_traced_in_a_second() -> None:
    network = ResNetGenerator(image_size=32, width=256, conv=gconv())
    inputs = example_inputs("generator", network)
    find_units(network, *inputs)
    began = time.perf_counter()
    find_units(network, *inputs)
    assert time.perf_counter() - began < 1


def test_what_cannot_be_cut_is_named() -> None:
    network = build_classifier("wrn_10_1", conv=lambda *sizes, **more: Scaled(*sizes, **more))
    with pytest.raises(
        UserError, match=r"taylor cannot remove channels of the classifier: trunk\.stem: Scaled does not describe its channels"
    ):
        units_of("taylor", "classifier", network)


class Scaled(nn.Module):
    """A convolution of somebody who did not think of pruning."""

    def __init__(self, *sizes: int, **more: Any) -> None:
        super().__init__()
        self.conv, self.gain = nn.Conv2d(*sizes, **more), nn.Parameter(torch.ones(sizes[1], 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.gain * self.conv(x)
        return result


class Reversed(nn.Module):
    """A network with an operation on channels that no graph shows."""

    num_classes, image_size = 2, 8

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        result: Tensor = self.head((self.second(h) + h.roll(1, 1)).mean((2, 3)))
        return result


def test_a_network_whose_channels_were_not_understood_is_refused() -> None:
    torch.manual_seed(0)
    with pytest.raises(UserError, match="Reversed without some of its channels is another function than with them held at 0"):
        units_of("taylor", "classifier", Reversed())


def test_networks_are_understood_before_training_too() -> None:
    """Mixtures of dictionaries are the identity then, and a part of one may be 0, by whose norm nothing can be divided."""
    torch.manual_seed(0)
    network = spectral(BigGANGenerator(**{**G, "image_size": 8, "width": 8}, conv=gconv()))
    kept = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    units = units_of("taylor", "generator", network)
    assert all(len(set(units.of("blocks.0.conv1", axis))) == 8 for axis in ("inputs", "outputs", "kernels"))
    assert all(torch.equal(tensor, kept[name]) for name, tensor in network.state_dict().items())


class Hidden(Reversed):
    """The same operation behind a norm whose scale is 0 before training."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(8)
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        result: Tensor = self.head((self.second(h) + self.norm(h.roll(1, 1))).mean((2, 3)))
        return result


def test_what_a_scale_of_0_hides_is_not_overlooked() -> None:
    torch.manual_seed(0)
    with pytest.raises(UserError, match="Hidden without some of its channels is another function"):
        units_of("taylor", "classifier", Hidden())


def test_units_of_a_transformer_are_the_channels_of_its_hidden_layers() -> None:
    _, network = made("transformer")
    units = find_units(network, *inputs_of("classifier", network))
    found = {(layer, axis): set(units.of(layer, axis)) for layer, axis in units.slots()}
    assert found.keys() == {(f"blocks.{block}.hidden.{part}", axis) for block in (0, 1) for part, axis in ((0, "outputs"), (2, "inputs"))}
    assert len(units) == 64
    assert found["blocks.1.hidden.0", "outputs"] == found["blocks.1.hidden.2", "inputs"] == set(range(32, 64))


# ---- the derivative ------------------------------------------------------------------------------------------------


def test_the_reading_factor_is_the_gate_after_the_norm() -> None:
    r"""\gamma d\gamma + \beta d\beta of the norms that write a channel, in networks of ReLU."""
    for name in ("plain chain", "zero-padded residual"):
        _, network = made(name)
        images = inputs_of("classifier", network)
        units = find_units(network, *images)
        network(*images)[:, 0].square().sum().backward()
        found = Reading(network, units).gradient()
        expected = torch.zeros_like(found)
        for layer, module in network.named_modules():
            if isinstance(module, _BatchNorm):
                gate = module.weight * module.weight.grad + module.bias * module.bias.grad
                of = torch.tensor(units.of(layer, "outputs"))
                expected.index_add_(0, of, gate.detach())
        written = torch.tensor(
            [unit for layer, module in network.named_modules() if isinstance(module, _BatchNorm) for unit in units.of(layer, "outputs")]
        )
        torch.testing.assert_close(found[written], expected[written], rtol=1e-10, atol=1e-10)


def test_it_is_the_derivative_with_respect_to_explicit_factors() -> None:
    """In a generator with conditional norms, shortcuts, dictionaries, and an activation that is not homogeneous."""
    torch.manual_seed(0)
    network = ResNetGenerator(**G, conv=gconv(bias="dynamic"), activation=nn.SiLU).double().eval()
    inputs = inputs_of("generator", network)
    units = find_units(network, *inputs)
    reading = Reading(network, units)
    network(*inputs).square().sum().backward()
    factors = reading.ones().requires_grad_()
    torch.func.functional_call(network, reading.scaled(factors), tuple(inputs)).square().sum().backward()
    assert factors.grad is not None
    torch.testing.assert_close(reading.gradient(), factors.grad, rtol=1e-10, atol=1e-12)
    step = 1e-6
    for unit in (0, len(units) // 2, len(units) - 1):
        shifted = [reading.ones().index_fill(0, torch.tensor([unit]), 1 + sign * step) for sign in (1, -1)]
        up, down = (torch.func.functional_call(network, reading.scaled(one), tuple(inputs)).square().sum() for one in shifted)
        torch.testing.assert_close((up - down).detach() / (2 * step), factors.grad[unit], rtol=1e-5, atol=1e-6)


def test_contributions_are_summed_before_they_are_squared() -> None:
    network = nn.Sequential(nn.Linear(1, 2, bias=False), nn.Linear(2, 2, bias=False)).double()
    units = Units({"0": {"outputs": [0, 1]}, "1": {"inputs": [0, 1]}})
    network[1].weight.data = torch.tensor([[1.0, 1.0], [-1.0, 2.0]], dtype=torch.double)
    network[1].weight.grad = torch.ones(2, 2, dtype=torch.double)
    assert Reading(network, units).gradient().tolist() == [0.0, 3.0]


def test_an_unsliceable_layer_raises_its_own_error() -> None:
    network = ResNetGenerator(**G, conv=gconv(groups=2))
    inputs = example_inputs("generator", network)
    with pytest.raises(UnsliceableError, match="blocks.0.conv1: GConv2d with groups"):
        find_units(network, *inputs)
