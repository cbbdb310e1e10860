"""What is measured during training is what the definitions say; training itself is not changed."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gconv_gan.commands.train import classifier as classifier_recipe
from gconv_gan.commands.train import gan as gan_recipe
from gconv_gan.config.errors import UserError
from gconv_gan.methods.effective_learning_rates import EffectiveLearningRates, layer_name
from gconv_gan.methods.method import Progress
from gconv_gan.methods.sphere import Sphere
from gconv_gan.runtime.tracking import read_metrics
from tests.methods.made import batch, begun, classifier, small, step, without_eps
from tests.training.tiny import final_files, tiny
from tests.training.tiny_classifier import tiny_classifier

SHORT: dict[str, Any] = {"trainer": {"total_images": 96, "checkpoint_every": 96, "log_every": 32}}


def angle(before: torch.Tensor, after: torch.Tensor) -> float:
    a, b = before.double().flatten(), after.double().flatten()
    return 2 * math.asin((a / a.norm() - b / b.norm()).norm().item() / 2)


@pytest.mark.parametrize("name", ["convnet", "resnet18_si"])
def test_norms_rates_angles_and_gradients_are_those_of_the_definitions(name: str) -> None:
    player, method = classifier(small(name), learning_rate=0.05), EffectiveLearningRates()
    begun(method, player)
    [groups] = method._groups.values()
    everything = tuple(weight for group in groups for weight in group)
    angles: dict[str, list[float]] = {}
    slopes: dict[str, list[float]] = {}

    def joined(names: tuple[str, ...], *, slope: bool = False) -> torch.Tensor:
        weights = [player.network.get_parameter(one) for one in names]
        return torch.cat([(one.grad if slope else one).detach().clone().flatten().double() for one in weights])  # type: ignore[union-attr]

    labelled = {**{layer_name(group): group for group in groups}, "all": everything}
    for number in range(3):
        images, labels = batch(number, torch.float32)
        torch.autograd.backward(nn.functional.cross_entropy(player.network.train()(images), labels))
        for label, names in labelled.items():
            slopes.setdefault(label, []).append((joined(names).norm() * joined(names, slope=True).norm()).item())
        player.network.zero_grad()
        before = {label: joined(names) for label, names in labelled.items()}
        step([method], player, number)
        for label, names in labelled.items():
            angles.setdefault(label, []).append(angle(before[label], joined(names)))
    status = method.status()
    for label, names in labelled.items():
        norm = joined(names).norm().item()
        assert status[f"weight_norm/classifier/{label}"] == pytest.approx(norm, rel=1e-5)
        assert status[f"effective_learning_rate/classifier/{label}"] == pytest.approx(0.05 / norm**2, rel=1e-5)
        assert status[f"angular_update/classifier/{label}"] == pytest.approx(sum(angles[label]) / 3, rel=1e-3)
        assert status[f"effective_gradient_norm/classifier/{label}"] == pytest.approx(sum(slopes[label]) / 3, rel=1e-3)
    rates = sorted(status[f"effective_learning_rate/classifier/{layer_name(group)}"] for group in groups)
    assert (status["effective_learning_rate_min"], status["effective_learning_rate_max"]) == (rates[0], rates[-1])
    assert rates[0] < status["effective_learning_rate"] < rates[-1]
    assert method.status() == {}  # the means start anew


def test_on_the_sphere_they_are_those_of_its_formulas() -> None:
    player, sphere, method = (
        classifier(without_eps(small("convnet_si").double())),
        Sphere(effective_learning_rate=0.01),
        EffectiveLearningRates(),
    )
    begun(sphere, player)
    method.check({"classifier": player.network})
    method.begin({"classifier": player}, Progress())
    step([sphere, method], player, 0)
    status = method.status()
    gradient = status["effective_gradient_norm/classifier/all"]
    assert status["angular_update/classifier/all"] == pytest.approx(math.atan(0.01 * gradient), rel=1e-8)
    assert status["effective_learning_rate/classifier/all"] == pytest.approx(0.01, rel=1e-8)
    radius = status["weight_norm/classifier/all"]
    for index in range(1, 5):
        layer = f"classifier/trunk.unit{index}.conv"
        expected = 0.01 * radius**2 / status[f"weight_norm/{layer}"] ** 2
        assert status[f"effective_learning_rate/{layer}"] == pytest.approx(expected, rel=1e-8)


def test_small_angles_are_not_lost_in_float32() -> None:
    player, method = classifier(small("convnet"), learning_rate=2e-5), EffectiveLearningRates()
    begun(method, player)
    step([method], player, 0)
    status = method.status()
    for index in range(1, 5):
        layer = f"classifier/trunk.unit{index}.conv"
        predicted = math.atan(status[f"effective_learning_rate/{layer}"] * status[f"effective_gradient_norm/{layer}"])
        assert predicted < 3e-5
        assert status[f"angular_update/{layer}"] == pytest.approx(predicted, rel=0.02)


def test_layers_have_the_names_of_their_modules() -> None:
    assert layer_name(("blocks.0.conv1.parametrizations.weight.original",)) == "blocks.0.conv1"
    assert layer_name(("blocks.0.conv1.bank", "blocks.0.shortcut.weight")) == "blocks.0.conv1.bank+1"


def test_it_measures_both_players_of_a_gan_and_changes_neither(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gan_recipe.fit(tiny(tmp_path / "with", methods=[{"kind": "effective_learning_rates"}], **SHORT))
    said = capsys.readouterr().out
    assert "ELR D " in said
    assert "ELR G " in said
    gan_recipe.fit(tiny(tmp_path / "without", **SHORT))
    ours, theirs = (final_files(tmp_path / name, 96) for name in ("with", "without"))
    networks = ("generator.safetensors", "discriminator.safetensors", "ema.safetensors")
    assert all(ours[name] == theirs[name] for name in networks)
    [line] = [line for line in read_metrics(tmp_path / "with" / "tiny" / "metrics.jsonl") if line["images"] == 96]
    layers = [key for key in line if key.startswith("effective_learning_rate/discriminator/")]
    assert len(layers) == 10  # nine spectrally normalised weights, and all
    assert line["effective_learning_rate/discriminator/linear"] == pytest.approx(
        2e-4 * 0.5 / line["weight_norm/discriminator/linear"] ** 2, rel=0.7
    )
    assert line["effective_learning_rate_g"] > 0


def test_a_broken_run_measures_what_an_unbroken_one_does(tmp_path: Path) -> None:
    """Sums are in checkpoints, so that a status line after a resume has the steps before it."""
    methods = [{"kind": "effective_learning_rates"}]
    plain: dict[str, Any] = {"methods": methods, "network": {"kind": "named", "name": "convnet", "options": {"widths": [4, 8, 8]}}}

    def numbers(folder: Path) -> list[dict[str, Any]]:
        lines = read_metrics(folder / "tiny" / "metrics.jsonl")
        return [{key: value for key, value in line.items() if "/classifier/" in key} for line in lines if line["images"] == 192]

    longer = {"checkpoint_every": 96, "log_every": 64}
    classifier_recipe.fit(
        tiny_classifier(tmp_path / "whole", **plain, trainer={"total_images": 192, **longer}, schedule={"kind": "constant"})
    )
    classifier_recipe.fit(
        tiny_classifier(tmp_path / "parts", **plain, trainer={"total_images": 96, **longer}, schedule={"kind": "constant"})
    )
    classifier_recipe.fit(
        tiny_classifier(tmp_path / "parts", **plain, trainer={"total_images": 192, **longer}, schedule={"kind": "constant"})
    )
    assert numbers(tmp_path / "parts") == numbers(tmp_path / "whole")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"methods": [{"kind": "effective_learning_rates", "players": ["classifier"]}]},
            "names the classifier, but this run has generator and",
        ),
        (
            {
                "discriminator": {"norm": {"kind": "none"}},
                "methods": [{"kind": "effective_learning_rates", "players": ["discriminator"]}],
            },
            "names the discriminator, which has no weights whose scale does not matter",
        ),
        (
            {
                "generator": {"norm": {"kind": "none"}},
                "discriminator": {"norm": {"kind": "none"}},
                "conditional": False,
                "methods": [{"kind": "effective_learning_rates"}],
            },
            "no network of this run has any",
        ),
    ],
)
def test_networks_without_such_weights_are_refused_in_one_sentence(changes: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=sentence):
        gan_recipe.fit(tiny(tmp_path, **changes, **SHORT))
    assert not (tmp_path / "tiny").exists()
