"""Training on the sphere: its identities, what stays frozen, GAN players, resume through the command, and refusals."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from gconv_gan.commands.train import classifier as classifier_recipe
from gconv_gan.commands.train import gan as gan_recipe
from gconv_gan.config.errors import UserError
from gconv_gan.methods.method import Player, Progress
from gconv_gan.methods.sphere import Sphere
from gconv_gan.runtime.tracking import read_metrics
from gconv_gan.training import engine
from tests.methods.made import batch, begun, classifier, small, step, without_eps
from tests.reference.host_free import HostFreeEngine
from tests.training.interrupted import CLASSIFIER as CLASSIFIER_TRAINING
from tests.training.interrupted import GAN as GAN_TRAINING
from tests.training.interrupted import At, PowerCutError, power_cut
from tests.training.tiny import final_files, tiny
from tests.training.tiny_classifier import tiny_classifier

ROUNDING = 1e-6  # of a radius in float32


def weights(network: nn.Module) -> list[Tensor]:
    return [module.weight.detach() for module in network.modules() if isinstance(module, nn.Conv2d)]


def norm(tensors: list[Tensor]) -> float:
    return math.sqrt(sum(tensor.double().square().sum().item() for tensor in tensors))


def gradients(player: Player, number: int) -> list[Tensor]:
    """Return the gradient of every convolution at batch ``number`` and leave none behind."""
    images, labels = batch(number, next(player.network.parameters()).dtype)
    torch.autograd.backward(nn.functional.cross_entropy(player.network.train()(images), labels))
    found = [module.weight.grad.clone() for module in player.network.modules() if isinstance(module, nn.Conv2d)]
    player.network.zero_grad()
    return found


# ---- the algorithm ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["convnet_si", "resnet18_si"])
def test_every_step_ends_on_the_sphere(name: str) -> None:
    player, method = classifier(small(name)), Sphere(effective_learning_rate=1e-2)
    radius = norm(weights(player.network))
    singles = [norm([weight]) for weight in weights(player.network)]
    begun(method, player)
    for number in range(10):
        step([method], player, number)
        assert norm(weights(player.network)) == pytest.approx(radius, rel=ROUNDING)
    assert any(norm([weight]) != pytest.approx(before, rel=1e-3) for weight, before in zip(weights(player.network), singles, strict=True))


def test_every_filter_keeps_its_norm() -> None:
    player, method = classifier(small("convnet_si")), Sphere(effective_learning_rate=1e-2, norm="filter")
    filters = sum(len(weight) for weight in weights(player.network))
    each = norm(weights(player.network)) / math.sqrt(filters)
    begun(method, player)
    for number in range(10):
        for weight in weights(player.network):
            torch.testing.assert_close(
                weight.double().flatten(1).norm(dim=1), torch.full((len(weight),), each).double(), rtol=ROUNDING, atol=0
            )
        step([method], player, number)
    assert method.learning_rate_factor(player, Progress()) * player.learning_rate == pytest.approx(1e-2 * each**2 * filters)


def test_filters_that_are_given_their_norm_compute_what_they_did() -> None:
    network = without_eps(small("convnet_si").double())
    images, _ = batch(0, torch.float64)
    before = network(images)
    begun(Sphere(norm="filter", head_norm=0.0), classifier(network))
    torch.testing.assert_close(network(images), before, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-3)])
def test_the_radius_does_not_matter(dtype: torch.dtype, tolerance: float) -> None:
    def losses(scale: float) -> list[float]:
        network = small("convnet_si").to(dtype)
        if dtype == torch.float64:
            without_eps(network)
        with torch.no_grad():
            for module in network.modules():
                if isinstance(module, nn.Conv2d):
                    module.weight.mul_(scale)
        player, method = classifier(network), Sphere(effective_learning_rate=1e-4, head_norm=1.0)  # steps that do not amplify rounding
        begun(method, player)
        return [step([method], player, number) for number in range(20)]

    assert losses(10.0) == pytest.approx(losses(1.0), rel=tolerance)


@pytest.mark.parametrize("name", ["convnet_si", "resnet18_si"])
def test_a_step_turns_the_weights_by_the_angle_of_the_formula(name: str) -> None:
    rate = 0.02
    player, method = classifier(without_eps(small(name).double())), Sphere(effective_learning_rate=rate)
    begun(method, player)
    radius = norm(weights(player.network))
    for number in range(3):
        before, slope = torch.cat([w.flatten() for w in weights(player.network)]), norm(gradients(player, number))
        off_the_sphere: list[float] = []
        step([method], player, number, seen=lambda found=off_the_sphere: found.append(norm(weights(player.network))))  # type: ignore[misc]
        after = torch.cat([w.flatten() for w in weights(player.network)])
        angle = 2 * math.asin((after / after.norm() - before / before.norm()).norm().item() / 2)
        assert angle == pytest.approx(math.atan(rate * radius * slope), rel=1e-8)
        assert off_the_sphere[0] ** 2 == pytest.approx(radius**2 + (rate * radius**2 * slope) ** 2, rel=1e-10)


# ---- the others ------------------------------------------------------------------------------------------------------


def test_the_head_is_frozen_at_its_norm_and_so_is_all_else() -> None:
    network = small("convnet")  # its norms have scales and shifts
    head = network.head.weight.detach().clone()
    player, method = classifier(network), Sphere(effective_learning_rate=1e-2)
    begun(method, player)
    torch.testing.assert_close(network.head.weight.detach(), 10 * head / head.norm())
    kinds = (nn.Conv2d,)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    moved = {f"{name}.weight" for name, module in network.named_modules() if isinstance(module, kinds)}
    for number in range(3):
        step([method], player, number)
    assert {name for name, p in network.named_parameters() if not torch.equal(p, before[name])} == moved
    assert norm([network.head.weight.detach()]) == pytest.approx(10, rel=1e-6)


def test_others_that_are_trained_take_steps_of_the_optimisers_learning_rate() -> None:
    player, method = classifier(small("convnet").double(), learning_rate=0.3), Sphere(effective_learning_rate=1e-2, others="trained")
    head = player.network.head.weight
    before = head.detach().clone()
    begun(method, player)
    assert torch.equal(head, before)  # it keeps its own norm
    images, labels = batch(0, torch.float64)
    (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(player.network.train()(images), labels), head)
    radius = norm(weights(player.network))
    step([method], player, 0)
    torch.testing.assert_close(head.detach(), before - 0.3 * gradient, rtol=1e-10, atol=1e-12)
    assert norm(weights(player.network)) == pytest.approx(radius, rel=1e-12)


def test_weights_can_be_named() -> None:
    player = classifier(small("convnet_si"))
    method = Sphere(effective_learning_rate=1e-2, weights=("trunk.unit2.conv.weight",))
    before = {name: p.detach().clone() for name, p in player.network.named_parameters() if name != "head.weight"}
    begun(method, player)
    for number in range(3):
        step([method], player, number)
    moved = {name for name, value in before.items() if not torch.equal(player.network.get_parameter(name), value)}
    assert moved == {"trunk.unit2.conv.weight"}


# ---- whole runs ------------------------------------------------------------------------------------------------------

SGD: dict[str, Any] = {"kind": "sgd", "learning_rate": 0.05, "momentum": 0.0, "weight_decay": 0.0, "nesterov": False}
METHODS: list[dict[str, Any]] = [{"kind": "sphere", "effective_learning_rate": 1e-3}, {"kind": "effective_learning_rates"}]
CLASSIFIER: dict[str, Any] = {
    "network": {"kind": "named", "name": "convnet_si", "options": {"widths": [4, 8, 8]}},
    "optimizer": SGD,
    "schedule": {"kind": "constant"},
    "methods": METHODS,
}
GAN: dict[str, Any] = {
    "generator": {"conv": {"kind": "plain"}},
    "generator_optimizer": SGD,
    "discriminator_optimizer": SGD,
    "methods": [{**METHODS[0], "others": "trained"}, METHODS[1]],
}


def metrics(folder: Path) -> list[dict[str, Any]]:
    lines = read_metrics(folder / "tiny" / "metrics.jsonl")
    return [{key: value for key, value in line.items() if key not in ("seconds_per_kimg", "peak_memory_gib")} for line in lines]


def test_a_broken_classifier_run_ends_with_the_bits_of_an_unbroken_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    classifier_recipe.fit(tiny_classifier(unbroken, **CLASSIFIER))
    with pytest.raises(PowerCutError):
        CLASSIFIER_TRAINING.fit_with(monkeypatch, At(352, power_cut), broken, **CLASSIFIER)
    classifier_recipe.fit(tiny_classifier(broken, **CLASSIFIER))
    assert final_files(broken) == final_files(unbroken)
    assert metrics(broken) == metrics(unbroken)
    radius = load_file(unbroken / "tiny" / "checkpoint-160" / "sphere.safetensors")["classifier"].item()
    for images in (160, 320, 480):
        tensors = load_file(unbroken / "tiny" / f"checkpoint-{images}" / "classifier.safetensors")
        assert norm([tensor for name, tensor in tensors.items() if name.endswith("conv.weight")]) == pytest.approx(radius, rel=ROUNDING)
        assert norm([tensors["network.head.weight"]]) == pytest.approx(10, rel=ROUNDING)
    assert metrics(unbroken)[0]["weight_norm/classifier/all"] == pytest.approx(radius, rel=ROUNDING)
    assert metrics(unbroken)[0]["effective_learning_rate/classifier/all"] == pytest.approx(1e-3, rel=ROUNDING)


def test_a_broken_gan_run_ends_with_the_bits_of_an_unbroken_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    gan_recipe.fit(tiny(unbroken, **GAN))
    with pytest.raises(PowerCutError):
        GAN_TRAINING.fit_with(monkeypatch, At(368, power_cut), broken, **GAN)
    gan_recipe.fit(tiny(broken, **GAN))
    assert final_files(broken) == final_files(unbroken)
    radii = load_file(unbroken / "tiny" / "checkpoint-160" / "sphere.safetensors")
    for player in ("generator", "discriminator"):
        last = [line for line in metrics(unbroken) if f"weight_norm/{player}/all" in line][-1]
        assert last[f"weight_norm/{player}/all"] == pytest.approx(radii[player].item(), rel=ROUNDING)
        moved = load_file(unbroken / "tiny" / "checkpoint-480" / f"{player}.safetensors")
        first = load_file(unbroken / "tiny" / "checkpoint-160" / f"{player}.safetensors")
        assert any(not torch.equal(moved[name], first[name]) for name in moved if name.endswith("bias"))  # others are trained


@pytest.mark.parametrize("sort", ["classifier", "gan"])
def test_an_iteration_is_free_of_the_host(sort: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engines: list[HostFreeEngine] = []
    monkeypatch.setattr(engine, "EagerEngine", lambda iterate: engines.append(HostFreeEngine(iterate)) or engines[0])
    short = {"trainer": {"total_images": 192, "checkpoint_every": 1000, "log_every": 64}}
    if sort == "classifier":
        classifier_recipe.fit(tiny_classifier(tmp_path, **CLASSIFIER, **short))
    else:
        gan_recipe.fit(tiny(tmp_path, **GAN, **short))
    assert engines[0].calls
    assert all(len(calls) > 100 for calls in engines[0].calls.values())


# ---- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"optimizer": {**SGD, "momentum": 0.9}},
            r"methods\.0\.kind = \"sphere\" takes steps of plain SGD, but optimizer\.momentum = 0\.9",
        ),
        ({"optimizer": {**SGD, "weight_decay": 5e-4}}, r"but optimizer\.weight_decay = 0\.0005: set it to 0"),
        ({"optimizer": {"kind": "adam"}}, r"but optimizer\.kind = \"adam\": set it to \"sgd\""),
        ({"trainer": {"max_grad_norm": 1.0}}, r"which trainer\.max_grad_norm = 1 would shorten: leave it out"),
        ({"methods": [{"kind": "sphere", "players": ["generator"]}]}, "players names the generator, but this run has classifier"),
        ({"network": {**CLASSIFIER["network"], "norm": {"kind": "none"}}}, "the classifier has none: put norms behind"),
        (
            {"methods": [{"kind": "sphere", "weights": ["head.weight"]}]},
            r"no parameter 'head\.weight'; did you mean 'network\.head\.weight'",
        ),
        ({"methods": [{"kind": "sphere", "weights": ["network.head.weight"]}]}, "output changes with the scale of network.head.weight"),
        ({"methods": [{"kind": "sphere", "effective_learning_rate": 0.0}]}, r"methods\.0\.effective_learning_rate"),
        (
            {
                "network": {"kind": "named", "name": "wrn_10_1"},
                "methods": [{"kind": "sphere", "norm": "filter"}],
            },
            'sphere.norm = "filter" scales every filter by itself, which changes the output of the classifier',
        ),
        (
            {
                "network": {"kind": "named", "name": "wrn_10_1"},
                "methods": [{"kind": "sphere", "weights": ["network.trunk.stem.weight"]}],
            },
            r"network\.trunk\.stem\.weight is scale-invariant only together with network\.trunk\.stage1\.0\.branch\.conv2\.weight: name",
        ),
    ],
)
def test_what_has_no_fixed_effective_learning_rate_is_refused_in_one_sentence(
    changes: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=sentence):
        classifier_recipe.fit(tiny_classifier(tmp_path, **{**CLASSIFIER, **changes}))
    assert not (tmp_path / "tiny").exists()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"discriminator_optimizer": {"kind": "adam"}}, r"but discriminator_optimizer\.kind = \"adam\": set it to \"sgd\""),
        ({"discriminator": {"norm": {"kind": "none"}}}, "weights whose scale does not matter, and the discriminator has none"),
    ],
)
def test_a_gan_is_refused_where_one_of_its_players_cannot_be_on_a_sphere(changes: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=sentence):
        gan_recipe.fit(tiny(tmp_path, **{**GAN, **changes}))
    assert not (tmp_path / "tiny").exists()


def test_one_player_may_be_on_a_sphere_and_the_other_have_any_optimiser(tmp_path: Path) -> None:
    methods = [{"kind": "sphere", "players": ["discriminator"], "others": "trained"}]
    gan_recipe.fit(tiny(tmp_path, discriminator_optimizer=SGD, methods=methods, trainer={"total_images": 64, "checkpoint_every": 64}))
    assert list(load_file(tmp_path / "tiny" / "checkpoint-64" / "sphere.safetensors")) == ["discriminator"]
