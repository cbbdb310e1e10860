"""Whole classifier runs: exact resume, two processes, refusals, guards, content of the run folder."""

import copy
import dataclasses
import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from gconv_gan.commands.train import classifier as recipe
from gconv_gan.commands.train.classifier_data import splits
from gconv_gan.commands.train.classifier_network import build_network
from gconv_gan.config.errors import GuardError, UserError
from gconv_gan.data.cache import open_dataset
from gconv_gan.methods.method import Method, Player
from gconv_gan.metrics.extractors.trained_classifier import load_classifier
from gconv_gan.runtime.tracking import read_metrics
from gconv_gan.training.checkpoint import checkpoints
from tests.processes import run_two
from tests.training.interrupted import CLASSIFIER
from tests.training.tiny_classifier import tiny_classifier


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    recipe.fit(tiny_classifier(folder))
    return folder


def test_the_run_folder_has_the_documented_files(uninterrupted: Path) -> None:
    folder = uninterrupted / "tiny"
    assert [images for images, _ in checkpoints(folder)] == [480, 320, 160]
    for name in ("config.json", "command.txt", "versions.json", "log.txt", "model.safetensors", "model.json"):
        assert (folder / name).is_file(), name
    lines = read_metrics(folder / "metrics.jsonl")
    assert [line["images"] for line in lines if "validation/accuracy" in line] == [160, 320, 480]
    assert {"loss", "accuracy", "grad_norm", "seconds_per_kimg"} <= lines[0].keys()
    model = json.loads((folder / "model.json").read_text())
    assert model["weights"] == "ema"
    assert model["images_seen"] == 480
    averaged = load_file(folder / "checkpoint-480" / "ema.safetensors")
    assert all(torch.equal(tensor, averaged[name]) for name, tensor in load_file(folder / "model.safetensors").items())


def run_one_of_two(rank: int, folder: str, port: int, changes: dict[str, Any]) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    os.environ["ACCELERATE_USE_CPU"] = "true"
    torch.set_num_threads(1)
    recipe.fit(tiny_classifier(Path(folder), **changes))


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    # Nesterov at a moderate rate: rounding differences must not be blown up before they are compared
    changes = {"optimizer": {"learning_rate": 0.01}, "trainer": {"total_images": 80, "micro_batches": 2}, "evaluation": {"every": 48}}
    recipe.fit(tiny_classifier(tmp_path / "one", **changes))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run_two(run_one_of_two, str(tmp_path / "two"), port, changes)
    one, two = (load_file(tmp_path / name / "tiny" / "checkpoint-80" / "classifier.safetensors") for name in ("one", "two"))
    start = build_network(tiny_classifier(tmp_path / "one"), *_data(tmp_path / "one")).network.state_dict()
    moved = [name for name in start if name in one and one[name].is_floating_point() and not torch.equal(one[name], start[name])]
    assert len(moved) > 10
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-4, atol=2e-6, msg=lambda text, name=name: f"{name}: {text}")
    ours, theirs = (read_metrics(tmp_path / name / "tiny" / "metrics.jsonl") for name in ("one", "two"))
    for a, b in zip(ours, theirs, strict=True):
        for key in a.keys() - {"seconds_per_kimg", "peak_memory_gib"}:
            assert a[key] == pytest.approx(b[key], rel=1e-3), key


def _data(folder: Path) -> tuple[Any, Any]:
    config = tiny_classifier(folder)
    dataset = open_dataset(config.data)
    return dataset, splits(config, dataset).training


def test_another_hyper_parameter_is_refused_and_named(uninterrupted: Path) -> None:
    with pytest.raises(UserError, match=r"labels\.noise: 0\.2 -> 0\.4\. ") as refusal:
        recipe.fit(tiny_classifier(uninterrupted, labels={"noise": 0.4}))
    assert str(refusal.value).count("->") == 1


def test_a_non_finite_gradient_stops_before_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Poison(Method):
        weights: dict[str, torch.Tensor] | None = None

        def after_backward(self, player: Player) -> None:
            if self.weights is None:
                self.network, self.weights = player.network, copy.deepcopy(player.network.state_dict())
                player.network.head.bias.grad[0] = float("inf")

    poison = Poison()
    with pytest.raises(GuardError, match=r"classifier's gradient is not finite after 0 images, first in network\.head\.bias"):
        CLASSIFIER.fit_with(monkeypatch, poison, tmp_path)
    assert poison.weights is not None
    assert all(torch.equal(p, poison.weights[name]) for name, p in poison.network.named_parameters())


PLAIN = {"kind": "digits_classifier", "width": 8}  # couples no images, drops nothing


def test_micro_batches_add_up_to_the_batch(tmp_path: Path) -> None:
    for name, count in (("one", 1), ("four", 4)):
        recipe.fit(tiny_classifier(tmp_path / name, network=PLAIN, trainer={"total_images": 64, "micro_batches": count}))
    one, four = (load_file(tmp_path / name / "tiny" / "checkpoint-64" / "classifier.safetensors") for name in ("one", "four"))
    for name, tensor in one.items():
        torch.testing.assert_close(four[name], tensor, rtol=1e-4, atol=1e-6)


def test_the_best_by_validation_becomes_the_model(tmp_path: Path) -> None:
    changes = {"evaluation": {"every": 32, "select": "best"}, "trainer": {"keep_checkpoints": 1}}
    recipe.fit(tiny_classifier(tmp_path, **changes))
    folder = tmp_path / "tiny"
    curve = {
        line["images"]: line["validation/accuracy"] for line in read_metrics(folder / "metrics.jsonl") if "validation/accuracy" in line
    }
    best = max(curve, key=lambda images: (curve[images], -images))
    model = json.loads((folder / "model.json").read_text())
    assert model["images_seen"] == best
    assert {images for images, _ in checkpoints(folder)} == {best, 480}
    chosen = load_file(folder / f"checkpoint-{best}" / "ema.safetensors")
    assert all(torch.equal(tensor, chosen[name]) for name, tensor in load_file(folder / "model.safetensors").items())


def test_test_images_must_not_choose_the_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'select = "best" needs split\.validation above 0: the test images must not choose'):
        tiny_classifier(tmp_path, evaluation={"select": "best"}, split={"validation": 0.0})


def test_a_trained_classifier_is_read_back_and_standardises_its_input(tmp_path: Path) -> None:
    scores = recipe.fit(tiny_classifier(tmp_path))
    network, fields = load_classifier(tmp_path / "tiny")
    assert fields["accuracy"] == scores["accuracy"]
    dataset, training = _data(tmp_path)
    pixels = torch.from_numpy(dataset.images[training]).float() / 127.5 - 1
    standard = network.standard(pixels)
    torch.testing.assert_close(standard.mean((0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-4)
    torch.testing.assert_close(standard.std((0, 2, 3), correction=0), torch.ones(3), rtol=1e-4, atol=0)
    assert network.features(pixels[:2]).shape == (2, network.feature_dim)
    torch.testing.assert_close(network.head(network.features(pixels[:2])), network(pixels[:2]))


def test_a_run_may_start_from_another_classifier_of_other_classes(tmp_path: Path) -> None:
    recipe.fit(tiny_classifier(tmp_path, name="first", trainer={"total_images": 160}))
    dataset, training = _data(tmp_path)
    fewer = dataclasses.replace(dataset, manifest=dataset.manifest.model_copy(update={"classes": dataset.classes[:4]}))
    config = tiny_classifier(tmp_path, start_from=str(tmp_path / "first"))
    built = build_network(config, fewer, training)
    trained, _ = load_classifier(tmp_path / "first")
    ours, theirs = built.network.state_dict(), trained.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours if ".head." not in name)
    assert ours["network.head.weight"].shape == (4, 64)
    assert built.description["start_from"]["path"] == str(tmp_path / "first")
    with pytest.raises(UserError, match=r"start_from: .*first holds another network than this run's: .* differs"):
        build_network(tiny_classifier(tmp_path, start_from=str(tmp_path / "first"), network={"options": {"width": 2}}), dataset, training)


def test_images_that_enter_through_a_batch_norm_survive_saving_and_starting_from(tmp_path: Path) -> None:
    named = {"kind": "named", "name": "resnet20", "options": {"depths": [1, 1, 1], "widths": [8, 8, 8], "stem_width": 8}}
    network = named | {"norm": {"kind": "batch", "initial_scale": 0.1, "normalise_input": True}}
    with pytest.raises(UserError, match="standardise and network.norm.normalise_input both normalise the images: choose one"):
        tiny_classifier(tmp_path, network=network)
    recipe.fit(tiny_classifier(tmp_path, network=network, standardise=False, trainer={"total_images": 160}))
    trained, _ = load_classifier(tmp_path / "tiny")
    assert trained.input_norm.running_mean.any()
    dataset, training = _data(tmp_path)
    again = tiny_classifier(tmp_path, name="again", network=network, standardise=False, start_from=str(tmp_path / "tiny"))
    ours, theirs = build_network(again, dataset, training).network.state_dict(), trained.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours if ".head." not in name)
    assert not torch.equal(ours["network.head.weight"], theirs["network.head.weight"])


def test_training_reaches_its_accuracy(tmp_path: Path) -> None:
    plain = {"noise": 0.0, "smoothing": 0.0}
    none = {"crop_padding": 0, "cutout": 0, "mixup": 0.0, "cutmix": 0.0}
    scores = recipe.fit(
        tiny_classifier(
            tmp_path,
            network=PLAIN,
            labels=plain,
            augmentation=none,
            data={"flip": False},
            split={"train": 1.0},
            optimizer={"learning_rate": 0.1},
            trainer={"total_images": 2400},
        )
    )
    assert scores["accuracy"] > 0.9
