import base64
import io
import json
import math
from functools import partial
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from matplotlib import colormaps
from PIL import Image
from torch import nn

from gconv_gan.gallery.latents import fixed_latents
from gconv_gan.gallery.pictures.gate_map import gate_map_svg
from gconv_gan.gallery.pictures.gates import (
    gate_entropy,
    gate_of,
    gate_statistics,
    kernel_similarity,
    mean_by_class,
    meaning,
    normalised_entropy,
    record_gates,
    strongest_first,
)
from gconv_gan.gallery.trained_generator import SAMPLE_BATCH
from gconv_gan.layers import AdaptiveConv2d, CConv2d, CondConv2d, Condition, DyConv2d, GConv2d, ModulatedConv2d, ODConv2d
from gconv_gan.models.gan.resnet import ResNetGenerator


def random_gates(rows: int = 6, kernels: int = 5) -> torch.Tensor:
    return torch.rand(rows, kernels, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("gates", "entropy"),
    [
        ([1.0, 1.0, 1.0, 1.0], 1.0),
        ([0.3, 0.3, 0.3, 0.3], 1.0),
        ([0.0, 7.0, 0.0, 0.0], 0.0),
        ([2.0, 2.0, 0.0, 0.0], 0.5),
        ([0.0, 0.0, 0.0, 0.0], 0.0),
        ([0.4], 1.0),
    ],
)
def test_entropy_of_known_gates(gates: list[float], entropy: float) -> None:
    torch.testing.assert_close(normalised_entropy(torch.tensor([gates])), torch.tensor([entropy]))


def test_entropy_equals_the_definition() -> None:
    gates = random_gates()
    for row, entropy in zip(gates.tolist(), normalised_entropy(gates).tolist(), strict=True):
        shares = [gate / sum(row) for gate in row]
        assert entropy == pytest.approx(-sum(p * math.log(p) for p in shares) / math.log(5), rel=1e-5)
    assert float(gate_entropy(gates)) == pytest.approx(float(normalised_entropy(gates).mean()), rel=1e-6)


def test_negative_gates_are_no_selection() -> None:
    with pytest.raises(ValueError, match="negative"):
        gate_entropy(torch.tensor([[0.5, -0.1]]))


def test_statistics_distinguish_selective_balanced_and_uniform_layers() -> None:
    selective = gate_statistics(torch.eye(4))
    assert (selective.kernels, selective.entropy, selective.balance) == (4, 0.0, pytest.approx(1.0))
    assert selective.variance == pytest.approx(3 / 16)  # each gate is 1 with probability 1/4
    collapsed = gate_statistics(torch.eye(4)[[2, 2, 2]])
    assert (collapsed.entropy, collapsed.balance, collapsed.variance) == (0.0, 0.0, 0.0)
    indifferent = gate_statistics(torch.full((5, 4), 0.5))
    assert (indifferent.entropy, indifferent.balance, indifferent.variance) == (pytest.approx(1.0), pytest.approx(1.0), 0.0)


def test_class_means_and_order() -> None:
    gates, y = random_gates(), torch.tensor([1, 0, 1, 2, 2, 1])
    means = mean_by_class(gates, y, num_classes=3)
    torch.testing.assert_close(means, torch.stack([gates[y == label].mean(0) for label in range(3)]))
    order = strongest_first(gates)
    assert gates.mean(0)[order].tolist() == sorted(gates.mean(0).tolist(), reverse=True)
    with pytest.raises(ValueError, match=r"classes \[3\]"):
        mean_by_class(gates, y, num_classes=4)


def test_recorded_gates_are_those_of_the_layers(generator: ResNetGenerator) -> None:
    z = fixed_latents(0, "test", count=SAMPLE_BATCH + 3, latent_dim=6)
    y = torch.arange(len(z)) % 3
    hooks_before = [len(module._forward_hooks) for module in generator.modules()]
    gates = record_gates(generator, z, y)
    assert list(gates) == ["blocks.0.conv1", "blocks.0.conv2"]
    for name, recorded in gates.items():
        layer = generator.get_submodule(name)
        assert isinstance(layer, GConv2d)
        torch.testing.assert_close(recorded, layer.gate(Condition(z)), rtol=1e-6, atol=1e-6)
        assert recorded.std(0).min() > 0.01
    assert [len(module._forward_hooks) for module in generator.modules()] == hooks_before


GATED = {
    "condconv": (CondConv2d, {}),
    "dyconv": (DyConv2d, {"temperature": 0.1}),
    "odconv": (ODConv2d, {"temperature": 0.1}),
    "gigagan": (AdaptiveConv2d, {"latent_dim": 6, "num_kernels": 4, "gate_init_std": 1.0}),
}


@pytest.mark.parametrize("kind", GATED)
def test_gates_of_every_layer_that_has_them(kind: str) -> None:
    torch.manual_seed(0)
    layer, options = GATED[kind]
    generator = ResNetGenerator(image_size=8, width=8, latent_dim=6, conv=partial(layer, **options))
    z = fixed_latents(0, "test", count=SAMPLE_BATCH + 3, latent_dim=6)
    gates = record_gates(generator, z, None)
    assert list(gates) == ["blocks.0.conv1", "blocks.0.conv2"]
    for name, recorded in gates.items():
        assert recorded.shape == (len(z), 4)
        assert recorded.std(0).max() > 1e-4
        assert kind == "condconv" or torch.allclose(recorded.sum(1), torch.ones(len(z)))
        assert 0 <= float(gate_entropy(recorded)) <= 1
        assert 0 < kernel_similarity(generator.get_submodule(name)) < 1


def test_class_conditional_gates_differ_between_classes() -> None:
    torch.manual_seed(0)
    conv = partial(GConv2d, latent_dim=6, class_gates=True, gate_init_std=1.0)
    generator = ResNetGenerator(image_size=8, width=8, latent_dim=6, num_classes=3, conv=conv)
    z = torch.randn(4, 6)
    first, second = (record_gates(generator, z, torch.full((4,), c))["blocks.0.conv1"] for c in (0, 1))
    assert (first - second).abs().min() > 0
    assert (first - first[:1]).abs().max() > 0.01


@pytest.mark.parametrize("conv", [partial(ModulatedConv2d, latent_dim=6), partial(CConv2d, num_classes=3)], ids=["stylegan2", "cconv"])
def test_one_kernel_has_no_gates(conv: partial[nn.Module]) -> None:
    generator = ResNetGenerator(image_size=8, width=8, latent_dim=6, num_classes=3, conv=conv)
    assert record_gates(generator, torch.randn(3, 6), torch.arange(3)) == {}


def test_recording_restores_the_mode_and_gives_nothing_without_gates() -> None:
    plain = ResNetGenerator(image_size=8, width=4, latent_dim=6).train()
    before = {name: value.clone() for name, value in plain.state_dict().items()}
    assert record_gates(plain, torch.randn(2, 6), None) == {}
    assert all(module.training for module in plain.modules())
    assert all(torch.equal(value, before[name]) for name, value in plain.state_dict().items())  # BatchNorm saw nothing


@pytest.mark.parametrize("options", [{"mode": "bank", "granularity": "filter"}, {"selection": "open"}])
def test_gates_per_channel_are_averaged_and_open_ones_repeated(options: dict[str, str]) -> None:
    torch.manual_seed(0)
    conv = partial(GConv2d, latent_dim=6, gate_init_std=1.0, **options)
    generator = ResNetGenerator(image_size=8, width=4, latent_dim=6, conv=conv)
    z = fixed_latents(0, "test", count=SAMPLE_BATCH + 3, latent_dim=6)
    for name, recorded in record_gates(generator, z, None).items():
        expected = generator.get_submodule(name).gate(Condition(z))
        expected = expected.mean(2) if expected.ndim == 3 else expected.expand(len(z), -1)
        torch.testing.assert_close(recorded, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("mode", "weight"), [("dictionary", "dictionary"), ("bank", "bank")])
def test_similarity_of_kernels(mode: str, weight: str) -> None:
    layer = GConv2d(3, 4, 3, latent_dim=6, mode=mode, num_kernels=4)
    kernels = getattr(layer, weight)
    with torch.no_grad():
        flat = kernels.flatten(1).double()
        cosines = [abs(float(flat[j] @ flat[k] / (flat[j].norm() * flat[k].norm()))) for j in range(4) for k in range(4) if j != k]
        assert kernel_similarity(layer) == pytest.approx(sum(cosines) / 12, rel=1e-9)
        kernels.copy_(kernels[:1] * torch.tensor([1.0, -2.0, 3.0, 0.5]).view(-1, *[1] * (kernels.ndim - 1)))
        assert kernel_similarity(layer) == pytest.approx(1.0)
        nn.init.eye_(kernels.view(4, -1))
        assert kernel_similarity(layer) == 0.0


def gate_map(gates: torch.Tensor, names: list[str], **options: Any) -> ElementTree.Element:
    return ElementTree.fromstring(gate_map_svg(gates, names=names, label="gates", **options))


def pictures(svg: ElementTree.Element) -> list[Image.Image]:
    """The embedded pictures: colours of the gates, the colour scale, and the samples, if any."""
    found = [str(image.get("href")).partition(",")[2] for image in svg.iter("{http://www.w3.org/2000/svg}image")]
    return [Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB") for data in found]


def test_a_map_is_reproducible_and_holds_every_gate_of_the_strongest_kernels_first() -> None:
    gates, names = random_gates(), ["a", "b", "c", "d", "e", "a name too long to be shown in full"]
    content = gate_map_svg(gates, names=names, label="gates")
    assert content == gate_map_svg(gates, names=names, label="gates")
    assert len(content) < 10_000
    svg = gate_map(gates, names)
    held = json.loads(str(svg.get("data-gates")))
    assert held["names"] == names
    assert torch.allclose(torch.tensor(held["rows"]), gates[:, gates.mean(0).argsort(descending=True)], rtol=0.01)
    assert "a name too lo…" in "".join(svg.itertext())


def test_a_map_without_a_name_a_row_is_refused() -> None:
    with pytest.raises(ValueError, match="6 rows needs as many names, not 1"):
        gate_map(random_gates(), ["a"])


def test_samples_stand_beside_their_rows() -> None:
    images = torch.stack([torch.full((3, 4, 4), 40 * row, dtype=torch.uint8) for row in range(6)])
    strip = pictures(gate_map(random_gates(), list("abcdef"), images=images))[2]
    assert [strip.getpixel((1, row * strip.height // 6 + 1))[0] for row in range(6)] == [0, 40, 80, 120, 160, 200]


@pytest.mark.parametrize(("value", "largest", "share"), [(0.5, 1.0, 0.5), (1.0, 2.0, 0.5), (2.0, 2.0, 1.0), (0.5, None, 1.0)])
def test_the_colour_of_a_gate_is_its_share_of_the_largest_possible_one(value: float, largest: float | None, share: float) -> None:
    colour = pictures(gate_map(torch.full((2, 4), value), ["a", "b"], largest=largest))[0].getpixel((0, 0))
    assert np.allclose(colour, 255 * np.array(colormaps["viridis"](share)[:3]), atol=1)


@pytest.mark.parametrize(
    ("options", "largest", "words"),
    [
        ({"mode": "bank"}, 1.0, "A gate of 0 is closed, of 1 fully open."),
        ({"mode": "dictionary"}, 2.0, "of 2 fully open; 2·sigmoid is 1 at a logit of 0, half open"),
        ({"mode": "bank", "selection": "softmax", "num_kernels": 4}, 1.0, "sum to 1: equal ones are 0.25 each"),
        ({"mode": "bank", "selection": "top_m", "top_m": 2}, 1.0, "fully open, all but the 2 largest are closed."),
        ({"mode": "bank", "selection": "relu"}, None, r"has no largest value"),
        ({"mode": "bank", "selection": "open"}, 1.0, "All gates are constant and fully open."),
    ],
)
def test_what_a_gate_means_follows_from_its_selection(options: dict[str, Any], largest: float | None, words: str) -> None:
    gate = gate_of(nn.ModuleDict({"conv": GConv2d(3, 4, 3, latent_dim=6, **options)}), "conv")
    assert gate.largest == largest
    assert words in meaning(gate)
