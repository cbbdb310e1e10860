"""The card of a trained classifier: accuracy, calibration, robustness, cost."""

import hashlib
import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import NonNegativeInt, PositiveInt

from gconv_gan.config.base import Config
from gconv_gan.config.commands import JsonFile, RunFolder
from gconv_gan.config.errors import UserError, reworded
from gconv_gan.config.load import load_config, parse_command, validated
from gconv_gan.config.sections.classifiers import ClassifierRunConfig
from gconv_gan.config.sections.data import as_flags
from gconv_gan.data.batches.held_out import HeldOut
from gconv_gan.data.cache import open_dataset
from gconv_gan.data.datasets import require_images_of_every_class
from gconv_gan.data.image_dataset import ImageDataset
from gconv_gan.metrics.classification.predictions import (
    CALIBRATION_BINS,
    expected_calibration_error,
    hits,
    negative_log_likelihood,
    predictions,
)
from gconv_gan.metrics.classification.robustness import robustness
from gconv_gan.metrics.cost import counts, inference, peak_bytes, seconds, training_step
from gconv_gan.metrics.extractors.trained_classifier import DESCRIPTION, TENSORS, load_classifier
from gconv_gan.metrics.score_card import library_versions
from gconv_gan.runtime.device import command_device, device_name
from gconv_gan.runtime.files.atomic import write_text


class ClassifierCardCommand(Config):
    """Test a trained classifier: accuracy, calibration, robustness, cost."""

    run: RunFolder
    data_path: str | None = None
    """Path of the test data; None: that of the run's config."""
    cache_dir: str | None = None
    """Folder of converted data; None: that of the run's config."""
    gaussian: tuple[float, ...] = (0.05, 0.1, 0.2)
    """Deviations of Gaussian noise, in units of the pixel range [0, 1]."""
    fgsm: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)
    """ε of FGSM, in 255ths."""
    pgd: tuple[float, ...] = (8.0,)
    """ε of PGD (20 steps of 2/255 from a uniform start), in 255ths."""
    changed_images: PositiveInt = 1000
    """Number of test images, evenly spaced, that noise and attacks are applied to; the clean scores use all."""
    latency_batch: PositiveInt = 64
    """Batch of the throughput and of the training step; latency is that of one image."""
    repeats: PositiveInt = 20
    """Runs of which the median time is taken."""
    seed: NonNegativeInt = 0
    """Seed of noise and of PGD's start."""
    json_out: JsonFile = None
    """Also write the card here; it is always kept as scores/classifier.json in the run folder."""


class TestedData(Config):
    """The test images and their preprocessing."""

    title: str
    content_hash: str
    split: str | None
    images: int
    image_size: int
    changed_images: int
    """Number of images, evenly spaced, of the robustness scores."""


class ClassifierCard(Config):
    """Result and settings of one test of a classifier."""

    format: int = 1
    scores: dict[str, float]
    """Accuracies, likelihood and calibration error; under "accuracy, CHANGE", that of changed images."""
    cost: dict[str, float]
    run: str
    network: str
    weights: str
    images_seen: int
    model_sha256: str
    config_sha256: str
    seed: int
    data: TestedData
    attacks: str
    calibration_bins: int
    device: str
    threads: int
    versions: dict[str, str]
    seconds: float

    def lines(self) -> list[str]:
        """Return the card's numbers as lines of text."""
        about = f"{self.run} ({self.network}), {self.weights} weights at {self.images_seen:,} images"
        head = f"{about}, on {self.data.images:,} images of {self.data.title}"
        scores = [f"  {name:<28} {value:.4f}" for name, value in self.scores.items()]
        return [head, *scores, *(f"  {name:<28} {_amount(value)}" for name, value in self.cost.items())]


def _amount(value: float) -> str:
    """Return a number without an exponent: an integer in full, else to six digits."""
    return f"{value:,.0f}" if value >= 100_000 or value.is_integer() else f"{value:,.6g}"


def main(arguments: Sequence[str]) -> None:
    """Test the classifier that the command line names; print its card and write it to the run folder."""
    command = parse_command(ClassifierCardCommand, arguments)
    card = classifier_card(command)
    print("\n".join(card.lines()))
    text = card.model_dump_json(indent=2) + "\n"
    scores = Path(command.run) / "scores"
    scores.mkdir(exist_ok=True)
    for path in (scores / "classifier.json", *([Path(command.json_out)] if command.json_out else [])):
        write_text(path, text)
        print(f"written to {path}")


def classifier_card(command: ClassifierCardCommand) -> ClassifierCard:
    """Return the card of a trained classifier.

    Raises:
        UserError: there is no trained classifier, or the classes of the test data differ from its own.

    """
    start = time.perf_counter()
    folder = Path(command.run)
    device = command_device()
    network, fields = load_classifier(folder)
    network = network.to(device)
    config = load_config(ClassifierRunConfig, folder / "config.json")
    test = _test_data(command, config)
    if list(test.classes) != list(fields["classes"]):
        raise UserError(f"{folder} has the classes {fields['classes']}, but the test data have {list(test.classes)}")
    require_images_of_every_class(test, needed_by="a classifier's test")
    data = HeldOut(test, config.image_size)
    changed = evenly(data, command.changed_images)
    scores = clean_scores(network, data)
    changes = robustness(
        network, changed, gaussian=command.gaussian, fgsm_epsilons=command.fgsm, pgd_epsilons=command.pgd, seed=command.seed
    )
    return ClassifierCard(
        scores={**scores, **{f"accuracy, {name}": value for name, value in changes.items()}},
        cost=cost(network, config.image_size, batch_size=command.latency_batch, repeats=command.repeats, device=device),
        run=config.name,
        network=str(fields["network"]),
        weights=str(fields.get("weights", "raw")),
        images_seen=int(fields.get("images_seen", config.trainer.total_images)),
        model_sha256=hashlib.sha256((folder / DESCRIPTION).read_bytes() + (folder / TENSORS).read_bytes()).hexdigest(),
        config_sha256=hashlib.sha256((folder / "config.json").read_bytes()).hexdigest(),
        seed=command.seed,
        data=TestedData(
            title=test.title,
            content_hash=test.content_hash,
            split=test.manifest.split,
            images=len(data),
            image_size=config.image_size,
            changed_images=len(changed),
        ),
        attacks="FGSM: one step of epsilon; PGD: 20 steps of 2/255 from a uniform start; gradients in evaluation mode",
        calibration_bins=CALIBRATION_BINS,
        device=device_name(),
        threads=torch.get_num_threads(),
        versions=library_versions(),
        seconds=time.perf_counter() - start,
    )


def _test_data(command: ClassifierCardCommand, config: ClassifierRunConfig) -> ImageDataset:
    changes = {"path": command.data_path, "cache_dir": command.cache_dir}
    fields: dict[str, Any] = json.loads(config.test_data.model_dump_json())
    fields |= {name: value for name, value in changes.items() if value is not None}
    whole = {**json.loads(config.model_dump_json()), "test_data": fields}
    with reworded(partial(as_flags, {"path": "--data-path", "cache_dir": "--cache-dir"}, config.test_data.kind)):
        return open_dataset(validated(ClassifierRunConfig, whole, "command line").test_data)


def evenly(data: HeldOut, count: int) -> HeldOut:
    """Return ``count`` of the images, evenly spaced, since data sets are often sorted by class."""
    whole = np.arange(len(data.dataset)) if data.indices is None else data.indices
    count = min(count, len(whole))
    return HeldOut(data.dataset, data.size, whole[np.arange(count) * len(whole) // count])


def clean_scores(network: torch.nn.Module, data: HeldOut) -> dict[str, float]:
    """Return accuracy, top-5 accuracy, mean negative log-likelihood and calibration error."""
    logits, labels = predictions(network, data)
    return {
        "accuracy": float(hits(logits, labels).mean()),
        "top5": float(hits(logits, labels, k=5).mean()),
        "loss": float(negative_log_likelihood(logits, labels).mean()),
        "calibration_error": expected_calibration_error(logits, labels),
    }


def cost(network: torch.nn.Module, size: int, *, batch_size: int, repeats: int, device: torch.device) -> dict[str, float]:
    """Return parameters, MACs, latency, throughput and peak memories, all on inputs of zeros."""
    one, many = (torch.zeros(count, 3, size, size, device=device) for count in (1, batch_size))
    counted = counts(network, one)
    times = seconds({"one": inference(network, one), "many": inference(network, many)}, repeats=repeats, device=device)
    return {
        "parameters": float(counted.parameters),
        "MACs per image": float(counted.macs),
        "latency, ms": 1000 * times["one"],
        f"images per second, batch {batch_size}": batch_size / times["many"],
        f"peak MiB, batch {batch_size}": peak_bytes(inference(network, many), device=device) / 2**20,
        f"peak MiB of a training step, batch {batch_size}": peak_bytes(training_step(network, many), device=device) / 2**20,
    }
