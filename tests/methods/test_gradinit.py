"""GradInit: derivatives of scales, the constraint, bounds, invariance, no trace in the network, whole runs of every sort."""

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.func import functional_call

from gconv_gan import parts
from gconv_gan.commands import gallery
from gconv_gan.commands.train import classifier as classifier_recipe
from gconv_gan.commands.train import gan as recipe
from gconv_gan.commands.train.dry_run import classifier_plan, gan_plan
from gconv_gan.commands.train.networks import build_networks
from gconv_gan.config.errors import UserError
from gconv_gan.config.load import load_config
from gconv_gan.config.sections.classifiers import ClassifierRunConfig
from gconv_gan.gallery.pictures.reported import reported_drawings
from gconv_gan.layers import BatchNorm2d
from gconv_gan.layers.dropout import Dropout
from gconv_gan.layers.lipschitz.spectral_norm import spectral_norm
from gconv_gan.layers.lipschitz.weight_norms import parameters_without_scale
from gconv_gan.methods import gradinit
from gconv_gan.methods.gradinit import Derivatives, GradInit, Problem, ScaleAdam, derivatives, gradient, norm_of, scaled, total_norm
from gconv_gan.methods.method import Player, PlayerName
from gconv_gan.models.classifiers.plain_net import PlainNet
from gconv_gan.optim.optimizers import adam, sgd
from gconv_gan.training.step import measuring
from tests.processes import run_python
from tests.training.interrupted import CLASSIFIER, GAN, At, PowerCutError, power_cut
from tests.training.tiny import final_files, tiny, toml
from tests.training.tiny_classifier import tiny_classifier

ROOT = Path(__file__).parents[2]

# ---- the algorithm, in float64 --------------------------------------------------------------------------------------


def smooth() -> nn.Sequential:
    """Two convolutions with a norm and a smooth activation, and a head, in float64."""
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.Softplus(), nn.Conv2d(4, 5, 3), nn.Tanh(), nn.Flatten(), nn.Linear(80, 3))
    return nn.Sequential(*layers).double()


def losses_of(network: nn.Module, count: int = 2, size: int = 8) -> list[gradinit.LossOfWeights]:
    """Cross-entropies of batches of random images, as functions of the weights."""
    draws = torch.Generator().manual_seed(1)
    images = [torch.randn(6, 3, size, size, generator=draws).double() for _ in range(count)]
    labels = torch.arange(6) % 3

    def loss(x: Tensor, weights: gradinit.Weights) -> Tensor:
        return F.cross_entropy(functional_call(network, dict(weights), (x,)), labels)

    return [partial(loss, x) for x in images]


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach() for name, parameter in network.named_parameters()}


def central(f: Callable[[Tensor], Tensor], at: Tensor, *, step: float = 1e-5) -> Tensor:
    """Central differences of a function of the scales."""
    columns = step * torch.eye(len(at), dtype=at.dtype)
    return torch.stack([(f(at + one) - f(at - one)) / (2 * step) for one in columns])


@pytest.mark.parametrize("norm", [1, 2])
def test_the_derivatives_of_the_constraint_are_those_of_the_gradient_norm(norm: gradinit.Norm) -> None:
    network = smooth()
    first, second = losses_of(network)
    weights, scales = weights_of(network), torch.linspace(0.7, 1.4, len(weights_of(network)), dtype=torch.float64)

    def length(alphas: Tensor) -> Tensor:
        theta = scaled(weights, alphas)
        return total_norm(gradient(first(theta), theta), norm)

    found = derivatives(first, second, weights, scales, Problem(norm, 0.1, max_norm=1e-9, clip=1e9))
    assert found.constrained
    assert found.norm == pytest.approx(float(length(scales)), rel=1e-12)
    torch.testing.assert_close(found.values, central(length, scales), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("norm", [1, 2])
def test_the_derivatives_of_the_objective_hold_the_step_constant(norm: gradinit.Norm) -> None:
    network = smooth()
    first, second = losses_of(network)
    weights, scales, rate = weights_of(network), torch.linspace(0.7, 1.4, len(weights_of(network)), dtype=torch.float64), 0.05
    theta = scaled(weights, scales)
    g = gradient(first(theta), theta)
    step = {name: rate * (one.sign() if norm == 1 else one / total_norm(g, 2)) for name, one in g.items()}

    def ahead(alphas: Tensor) -> Tensor:
        return second({name: one.detach() - step[name] for name, one in scaled(weights, alphas).items()}) / rate

    found = derivatives(first, second, weights, scales, Problem(norm, rate, max_norm=1e9, clip=1e9))
    assert not found.constrained
    torch.testing.assert_close(found.values, central(ahead, scales), rtol=1e-6, atol=1e-8)


def test_derivatives_are_clipped() -> None:
    network = smooth()
    first, second = losses_of(network)
    weights, scales = weights_of(network), torch.ones(len(weights_of(network)), dtype=torch.float64)
    free, clipped = (derivatives(first, second, weights, scales, Problem(2, 0.1, 1e9, clip)).values for clip in (1e9, 0.01))
    assert free.abs().max() > 0.02
    assert torch.equal(clipped, free.clamp(-0.01, 0.01))


@pytest.mark.parametrize("constrained", [False, True])
def test_the_first_step_moves_every_scale_by_its_rate(constrained: bool) -> None:
    values = torch.tensor([1.0, -1.0, 0.3, -1e-4, 0.0], dtype=torch.float64)
    start = torch.ones(5, dtype=torch.float64)
    moved = ScaleAdam(torch.zeros(5, dtype=torch.float64), 0.03).moved(start, Derivatives(constrained, 1.0, values))
    torch.testing.assert_close(start - moved, 0.03 * values.sign(), rtol=1e-3, atol=0)


def test_the_phases_have_first_moments_of_their_own_and_share_the_second() -> None:
    sequence = [(False, 0.5), (True, -0.2), (False, 0.1), (True, 0.4), (True, 0.3)]
    scales = torch.ones(1, dtype=torch.float64)
    optimiser = ScaleAdam(torch.zeros(1, dtype=torch.float64), 0.01)
    first, steps, second, expected = {False: 0.0, True: 0.0}, {False: 0, True: 0}, 0.0, 1.0
    for phase, d in sequence:
        scales = optimiser.moved(scales, Derivatives(phase, 1.0, torch.tensor([d], dtype=torch.float64)))
        steps[phase] += 1
        first[phase] = 0.9 * first[phase] + 0.1 * d
        second = 0.999 * second + 0.001 * d * d
        mean, square = first[phase] / (1 - 0.9 ** steps[phase]), second / (1 - 0.999 ** (steps[False] + steps[True]))
        expected -= 0.01 * mean / (square**0.5 + 1e-8)
    assert float(scales) == pytest.approx(expected, rel=1e-12)


def test_scales_stay_above_their_bounds() -> None:
    minima = torch.tensor([0.01, 0.0], dtype=torch.float64)
    optimiser, scales = ScaleAdam(minima, 0.3), torch.ones(2, dtype=torch.float64)
    for _ in range(10):
        scales = optimiser.moved(scales, Derivatives(False, 1.0, torch.ones(2, dtype=torch.float64)))
    assert torch.equal(scales, minima)


def test_a_scale_before_batch_statistics_changes_the_gradient_alone() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), BatchNorm2d(4, eps=1e-30), nn.Softplus(), nn.Flatten(), nn.Linear(144, 3))
    network.double()
    [loss] = losses_of(network, 1)
    weights = weights_of(network)
    found = []
    for scale in (1.0, 3.0):
        theta = scaled(weights, torch.tensor([scale] + [1.0] * (len(weights) - 1), dtype=torch.float64))
        value = loss(theta)
        found.append((value.detach(), gradient(value, theta)["0.weight"]))
    torch.testing.assert_close(found[1][0], found[0][0], rtol=1e-9, atol=0)
    torch.testing.assert_close(3 * found[1][1], found[0][1], rtol=1e-8, atol=1e-12)


# ---- the method on a player -----------------------------------------------------------------------------------------


class Losses:
    """Cross-entropies of made images as training measures them: half h is 32 noisy copies of ten patterns."""

    def __init__(self, player: Player, size: int = 14) -> None:
        self.player, self.size, self.asked = player, size, list[tuple[int, ...]]()

    def __call__(self, player: PlayerName, halves: Sequence[int], network: Callable[..., Any] | None = None) -> Tensor:
        self.asked.append(tuple(halves))
        images, labels = zip(*map(self.half, halves), strict=True)
        called = self.player.network if network is None else network
        with measuring(self.player.network):
            return F.cross_entropy(called(torch.cat(images)), torch.cat(labels))

    def half(self, number: int) -> tuple[Tensor, Tensor]:
        draws = torch.Generator().manual_seed(number)
        labels = torch.randint(10, (32,), generator=draws)
        patterns = torch.randn(10, 3, self.size, self.size, generator=torch.Generator().manual_seed(99))
        return patterns[labels] + 0.5 * torch.randn(32, 3, self.size, self.size, generator=draws), labels


def player_of(network: nn.Module, **options: Any) -> Player:
    rate = options.pop("learning_rate", 0.1)
    return Player("classifier", network, partial(options.pop("optimizer", sgd), learning_rate=rate), rate)


def started(network: nn.Module, *, optimizer: Any = sgd, size: int = 14, **keywords: Any) -> tuple[GradInit, Player, Losses]:
    player = player_of(network, optimizer=optimizer)
    network.image_size = size  # type: ignore[assignment]
    method, losses = GradInit(**keywords), Losses(player, size)
    method.start({"classifier": player}, losses)
    return method, player, losses


def small(**keywords: Any) -> PlainNet:
    torch.manual_seed(0)
    return PlainNet(**{"depth": 4, "width": 8, "pools": (2,), **keywords})


def scales_of(method: GradInit) -> dict[str, float]:
    return {one.name: one.scale for one in method.found["classifier"].tensors}


def test_the_first_iteration_of_a_run_moves_scales_by_their_rate() -> None:
    method, _, _ = started(small(), iterations=1, scale_rate=0.03)
    scales = scales_of(method)
    kernels = [scale for name, scale in scales.items() if name.endswith("conv.weight")]
    assert [abs(scale - 1) for scale in kernels] == pytest.approx([0.03] * 4, rel=1e-3)
    assert {scale for name, scale in scales.items() if name.endswith("bias")} == {1.0}  # tensors of zeros


def test_a_rate_of_zero_changes_no_bit() -> None:
    network = small()
    before = copy.deepcopy(network.state_dict())
    method, _, _ = started(network, iterations=3, scale_rate=0.0)
    assert set(scales_of(method).values()) == {1.0}
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_weights_are_multiplied_by_their_scales_and_nothing_else_remains() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), BatchNorm2d(8), nn.ReLU(), Dropout(0.5), nn.Flatten(), nn.Linear(8 * 144, 10))
    network[5].weight.requires_grad_(False)
    network[3].eval()
    before, flags = copy.deepcopy(network.state_dict()), [module.training for module in network.modules()]
    method, player, _ = started(network, iterations=4, scale_rate=0.02)
    scales = scales_of(method)
    assert scales.keys() == {"0.weight", "0.bias", "1.weight", "1.bias", "5.bias"}
    assert len({scale for scale in scales.values() if scale != 1}) > 1
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name] * scales.get(name, 1.0)), name  # with the buffers of the norm
    assert network.state_dict().keys() == before.keys()
    assert [module.training for module in network.modules()] == flags
    assert [parameter.requires_grad for parameter in network.parameters()] == [True, True, True, True, False, True]
    assert all(parameter.grad is None and parameter.is_leaf for parameter in network.parameters())
    assert not any(module._forward_hooks or module._backward_hooks for module in network.modules())
    assert player.optimizer.state == {}


def test_batches_overlap_by_half() -> None:
    _, _, losses = started(small(), iterations=3, max_norm=1e9)
    assert losses.asked[1:-1] == [(0, 1), (0, 3), (2, 3), (2, 5), (4, 5), (4, 7)]
    assert losses.asked[0] == losses.asked[-1] == (0, 1)


@pytest.mark.parametrize(("max_norm", "constrained"), [(1e9, 0), (1e-9, 5)])
def test_the_bound_decides_what_is_minimised(max_norm: float, constrained: int) -> None:
    method, _, _ = started(small(), iterations=5, max_norm=max_norm)
    assert method.found["classifier"].constrained == constrained


@pytest.mark.parametrize(("optimizer", "max_norm"), [(sgd, 1.0), (adam, 30.0)])
def test_a_gradient_above_the_bound_comes_below_it(optimizer: Any, max_norm: float) -> None:
    method, _, _ = started(small(gain=1.8), optimizer=optimizer, iterations=60, scale_rate=0.02, max_norm=max_norm)
    found = method.found["classifier"]
    assert found.total("before") > 2 * max_norm
    assert found.total("after") <= max_norm
    assert 0 < found.constrained < 60


def test_the_norm_follows_the_optimiser() -> None:
    by_sgd, by_adam = (started(small(), optimizer=optimizer, iterations=1)[0].found["classifier"].problem for optimizer in (sgd, adam))
    assert (by_sgd.norm, by_sgd.max_norm, by_sgd.learning_rate) == (2, 1.0, 0.1)
    assert (by_adam.norm, by_adam.max_norm, by_adam.learning_rate) == (1, 1000.0, 0.1)
    other = torch.optim.RMSprop(small().parameters())
    with pytest.raises(UserError, match=r"a step of SGD, Adam or AdamW ahead, not one of RMSprop: choose another optimizer\.kind"):
        norm_of("classifier", other)


@pytest.mark.parametrize("gain", [0.6, 1.6])
def test_planted_gains_are_found(gain: float) -> None:
    torch.manual_seed(1)
    method, _, _ = started(PlainNet(gain=gain), iterations=60, scale_rate=0.03, max_norm=1.0)
    kernels = [scale for name, scale in scales_of(method).items() if name.endswith("conv.weight")]
    assert len(kernels) == 10
    assert [scale * gain for scale in kernels] == pytest.approx([1.0] * 10, rel=0.3)
    assert method.found["classifier"].total("after") <= 1.0


def test_weights_whose_scale_is_divided_out_keep_it() -> None:
    network = small()
    spectral_norm(network.trunk.unit2.conv)
    assert parameters_without_scale(network) == {"trunk.unit2.conv.parametrizations.weight.original"}
    method, _, _ = started(network, iterations=3)
    scales = scales_of(method)
    assert scales["trunk.unit2.conv.parametrizations.weight.original"] == 1.0
    assert scales["trunk.unit1.conv.weight"] != 1.0


# ---- what cannot be differentiated twice ---------------------------------------------------------------------------


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return gradient.clone()


class OnlyOnce(nn.Module):
    """An operation with a first derivative alone, behind a weight of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = Once.apply(self.factor * x)
        return result


def test_a_module_without_a_second_derivative_is_named() -> None:
    network = small()
    network.image_size = 14
    GradInit().check({"classifier": network})
    network.trunk.unit3.activation = OnlyOnce()
    before = copy.deepcopy(network.state_dict())
    sentence = r"differentiates a loss twice, which classifier\.trunk\.unit3\.activation \(OnlyOnce\) does not support"
    with pytest.raises(UserError, match=sentence):
        GradInit().check({"classifier": network})
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())


class Fused(nn.Module):
    """An attention whose gradient has no formula for its own gradient."""

    def forward(self, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x, x, x)


def test_an_operation_without_a_formula_is_refused_too() -> None:
    network = small()
    network.image_size = 14
    network.trunk.unit3.activation = Fused()
    with pytest.raises(UserError, match=r"which classifier\.trunk\.unit3\.activation \(Fused\) does not support \(derivative for"):
        GradInit().check({"classifier": network})


# ---- whole runs -----------------------------------------------------------------------------------------------------

FEW: dict[str, Any] = {"kind": "gradinit", "iterations": 3, "scale_rate": 0.02}
SHORT: dict[str, Any] = {"trainer": {"total_images": 96, "checkpoint_every": 32}}
WITHOUT_NORM: dict[str, Any] = {"discriminator": {"norm": {"kind": "none"}}}
TRANSFORMER: dict[str, Any] = {"kind": "post_norm_transformer", "width": 16, "depth": 2, "heads": 2, "patch_size": 2, "dropout": 0.1}


def report(folder: Path, kind: str = "gradinit") -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads((folder / "tiny" / "methods" / kind / "report.json").read_text())
    return found


def first_step(folder: Path, file: str, images: int = 32) -> dict[str, Tensor]:
    return load_file(folder / "tiny" / f"checkpoint-{images}" / f"{file}.safetensors")


@pytest.mark.parametrize("conv", ["gconv", "plain"])
def test_both_networks_of_a_gan_are_scaled_before_training(conv: str, tmp_path: Path) -> None:
    slow = {"learning_rate": 1e-9}
    options: dict[str, Any] = {**WITHOUT_NORM, "generator": {"conv": {"kind": conv}}, **SHORT}
    still = {"generator_optimizer": slow, "discriminator_optimizer": slow}
    recipe.fit(tiny(tmp_path / "with", methods=[{**FEW, "learning_rate": 1e-3}], **options, **still))
    recipe.fit(tiny(tmp_path / "without", **options, **still))
    found = report(tmp_path / "with")["players"]
    assert set(found) == {"generator", "discriminator"}
    for name, one in found.items():
        assert one["norm"] == 1
        with_it, without = (first_step(tmp_path / folder, name) for folder in ("with", "without"))
        moved = 0
        for key, tensor in one["tensors"].items():
            torch.testing.assert_close(with_it[key], without[key] * tensor["scale"], rtol=1e-5, atol=1e-6)
            moved += tensor["scale"] != 1
        assert moved > 10
    if conv == "gconv":
        assert found["generator"]["tensors"]["blocks.0.conv1.dictionary"]["scale"] != 1
        assert found["generator"]["tensors"]["blocks.0.norm1.scale.weight"]["scale"] != 1  # an embedding of classes
    average = first_step(tmp_path / "with", "ema")
    torch.testing.assert_close(average["to_rgb.weight"], first_step(tmp_path / "with", "generator")["to_rgb.weight"])
    assert (tmp_path / "with" / "tiny" / "methods" / "gradinit" / "scales.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "network",
    [
        {"kind": "named", "name": "plain_net", "options": {"depth": 3, "width": 8, "pools": [2]}},
        {"kind": "named", "name": "plain_net", "norm": {"kind": "batch"}, "options": {"depth": 3, "width": 8, "pools": [2]}},
        TRANSFORMER,
    ],
    ids=["plain", "batch_norm", "transformer"],
)
def test_a_classifier_is_scaled_once_and_a_broken_run_ends_with_the_bits_of_an_unbroken_one(
    network: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"network": network, "methods": [FEW], "trainer": {"total_images": 160, "checkpoint_every": 64}}
    starts: list[str] = []
    start = GradInit.start
    monkeypatch.setattr(GradInit, "start", lambda self, players, losses: (starts.append("start"), start(self, players, losses))[1])
    CLASSIFIER.fit_with(monkeypatch, At(128, lambda: None), tmp_path / "unbroken", **options)
    with pytest.raises(PowerCutError):
        CLASSIFIER.fit_with(monkeypatch, At(128, power_cut), tmp_path / "broken", **options)
    first = report(tmp_path / "broken")
    CLASSIFIER.fit_with(monkeypatch, At(128, lambda: None), tmp_path / "broken", **options)
    assert len(starts) == 2
    assert final_files(tmp_path / "broken", 160) == final_files(tmp_path / "unbroken", 160)
    assert report(tmp_path / "broken") == first
    assert report(tmp_path / "unbroken")["numbers"] == first["numbers"]


def test_a_broken_gan_acts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {**WITHOUT_NORM, "methods": [FEW], "trainer": {"total_images": 192, "checkpoint_every": 64}}
    GAN.fit_with(monkeypatch, At(128, lambda: None), tmp_path / "unbroken", **options)
    with pytest.raises(PowerCutError):
        GAN.fit_with(monkeypatch, At(128, power_cut), tmp_path / "broken", **options)
    GAN.fit_with(monkeypatch, At(128, lambda: None), tmp_path / "broken", **options)
    assert final_files(tmp_path / "broken", 192) == final_files(tmp_path / "unbroken", 192)


def test_two_methods_of_a_kind_write_two_folders(tmp_path: Path) -> None:
    methods = [{**FEW, "players": ["generator"]}, {**FEW, "players": ["discriminator"]}]
    recipe.fit(tiny(tmp_path, methods=methods, **WITHOUT_NORM, **SHORT))
    assert [set(report(tmp_path, kind)["players"]) for kind in ("gradinit", "gradinit-2")] == [{"generator"}, {"discriminator"}]


@pytest.mark.parametrize(
    ("options", "method", "sentence"),
    [
        ({}, {"players": ["classifier"]}, "gradinit acts on the classifier, but the run has generator and discriminator"),
        ({}, {}, "gradinit has no weight of the discriminator to scale: .* leave discriminator out of players"),
        ({}, {"scale_rate": -1.0}, r"methods\.0\.scale_rate: .*greater than or equal to 0"),
    ],
)
def test_what_cannot_be_scaled_is_refused_in_one_sentence(
    options: dict[str, Any], method: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=sentence):
        recipe.fit(tiny(tmp_path, methods=[{**FEW, **method}], **options))
    assert not (tmp_path / "tiny").exists()


def test_a_dry_run_checks_and_scales_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GradInit, "start", lambda *_: pytest.fail("a dry run scaled"))
    gan_plan.plan(tiny(tmp_path, methods=[FEW], **WITHOUT_NORM))
    classifier_plan.plan(tiny_classifier(tmp_path, methods=[FEW]))
    with pytest.raises(UserError, match="gradinit has no weight of the discriminator to scale"):
        gan_plan.plan(tiny(tmp_path, methods=[FEW]))
    assert not (tmp_path / "tiny").exists()


def test_spectral_norm_in_the_discriminator_leaves_the_generator(tmp_path: Path) -> None:
    recipe.fit(tiny(tmp_path, methods=[{**FEW, "players": ["generator"]}], **SHORT))
    assert set(report(tmp_path)["players"]) == {"generator"}


def test_the_scores_of_a_scaled_classifier_are_read_as_those_of_any(tmp_path: Path) -> None:
    scores = classifier_recipe.fit(tiny_classifier(tmp_path, network=TRANSFORMER, methods=[FEW], **SHORT))
    assert 0 <= scores["accuracy"] <= 1


def test_the_gallery_of_a_scaled_gan_shows_the_scales(tmp_path: Path) -> None:
    recipe.fit(tiny(tmp_path, methods=[{**FEW, "players": ["generator"]}], **SHORT))
    (drawing,) = reported_drawings(tmp_path / "tiny" / "methods", "method")
    gallery.main([str(tmp_path / "tiny"), "--out", str(tmp_path / "gallery"), "--cache-dir", str(tmp_path / "cache")])
    page = (tmp_path / "gallery" / "index.html").read_text()
    for file in drawing.files():
        assert file in page
        assert (tmp_path / "gallery" / file).read_bytes().startswith(b"\x89PNG")
    assert "the factor on each tensor of the generator" in page


def test_two_launched_processes_find_the_scales_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("HASHES", str(tmp_path))
    plugin = str(ROOT / "tests" / "reference" / "weight_hashes.py")
    config = toml(tmp_path, **WITHOUT_NORM, **SHORT)
    listed: list[dict[str, Any]] = [FEW, {"kind": "weight_hashes"}]
    methods = "\n".join("[[methods]]\n" + "\n".join(f"{key} = {json.dumps(value)}" for key, value in one.items()) for one in listed)
    config.write_text(f"plugins = [{json.dumps(plugin)}]\n{config.read_text()}\n{methods}\n")
    found = {}
    for processes in (1, 2):
        run_python(["train_gan.py", str(config), "--name", f"of{processes}"], launched=processes).check_returncode()
        found[processes] = {rank: (tmp_path / f"{processes}-{rank}").read_text() for rank in range(processes)}
    assert found[2][0] == found[2][1] == found[1][0]
    one, two = (json.loads((tmp_path / name / "methods" / "gradinit" / "report.json").read_text()) for name in ("of1", "of2"))
    assert one["numbers"] == two["numbers"]
    assert {key: one["players"][key]["tensors"] for key in one["players"]} == {
        key: two["players"][key]["tensors"] for key in two["players"]
    }


def test_the_config_of_the_repository_is_checked_by_a_dry_run(tmp_path: Path) -> None:
    path = ROOT / "configs" / "methods" / "gradinit_transformer_digits.toml"
    overrides = ["--runs-dir", str(tmp_path), "--data.cache-dir", str(tmp_path), "--test-data.cache-dir", str(tmp_path)]
    config = load_config(ClassifierRunConfig, path, overrides)
    assert config.schedule.warmup_images == 0
    classifier_plan.plan(config)


@pytest.mark.parametrize(
    "generator",
    [
        *({"conv": {"kind": kind}} for kind in parts.CONVS),
        {"conv": {"kind": "gconv", "mode": "bank"}},
        *({"norm": {"kind": kind}} for kind in parts.NORMS if kind != "none"),
        *({"kind": kind, "width": 8, "conv": {"kind": "plain"}} for kind in parts.GENERATORS),
    ],
    ids=str,
)
def test_every_generator_can_be_differentiated_twice(generator: dict[str, Any], tmp_path: Path) -> None:
    GradInit(players=["generator"]).check(
        dict(zip(("generator", "discriminator"), networks_of(tmp_path, generator=generator), strict=True))
    )


@pytest.mark.parametrize("kind", parts.DISCRIMINATORS)
def test_every_discriminator_can_be_differentiated_twice(kind: str, tmp_path: Path) -> None:
    _, network = networks_of(tmp_path, discriminator={"kind": kind, "width": 8, "norm": {"kind": "none"}})
    GradInit().check({"discriminator": network})


def networks_of(folder: Path, **changes: Any) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    generator, discriminator = build_networks(tiny(folder, **changes), 10)
    return generator, discriminator
