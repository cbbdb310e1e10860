"""Costs and tests of the arms of an ablation of classifiers."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gconv_gan.commands.ablation.side_by_side import Name
from gconv_gan.commands.score.classifier_card import clean_scores, evenly
from gconv_gan.commands.train.classifier_data import splits
from gconv_gan.commands.train.classifier_network import build_network
from gconv_gan.config.ablations import AttackConfig
from gconv_gan.config.sections.classifiers import ClassifierRunConfig
from gconv_gan.data.batches.held_out import HeldOut
from gconv_gan.data.cache import open_dataset
from gconv_gan.experiments.claims import ArmResult
from gconv_gan.metrics.classification.robustness import robustness
from gconv_gan.metrics.cost import counts, peak_bytes, seconds, training_step
from gconv_gan.metrics.extractors.trained_classifier import TENSORS, load_classifier
from gconv_gan.runtime.device import command_device
from gconv_gan.runtime.files.atomic import write_text

STEP_ROUNDS = 15


def is_tested(run: ClassifierRunConfig) -> bool:
    """Return whether a run has been trained and tested."""
    return _tests(run).is_file()


def arm_results(runs: Mapping[Name, ClassifierRunConfig], seeds: Sequence[int], attacks: AttackConfig) -> dict[str, ArmResult]:
    """Return the arms, tested where they are not yet; what no seed's method lacks is a measure."""
    arms = list(dict.fromkeys(arm for arm, _ in runs))
    tests = {name: _test(run, attacks) for name, run in runs.items()}
    costs = step_costs({arm: runs[arm, seeds[0]] for arm in arms})
    found = {}
    for arm in arms:
        scores = {seed: tests[arm, seed] for seed in seeds}
        diverged = tuple(seed for seed in seeds if scores[seed]["diverged"])
        shared = [name for name in scores[seeds[0]] if name != "diverged" and all(name in one for one in scores.values())]
        scores = {seed: {name: one[name] for name in shared} for seed, one in scores.items()}
        found[arm] = ArmResult(**costs[arm], scores=scores, diverged=diverged)
    return found


def _tests(run: ClassifierRunConfig) -> Path:
    return Path(run.runs_dir) / run.name / "result.json"


def _test(run: ClassifierRunConfig, attacks: AttackConfig) -> dict[str, float]:
    """Return the measures of a trained arm: from its ``result.json``, or by testing it; one without a network diverged."""
    stored = _tests(run)
    folder = stored.parent
    if stored.is_file():
        return dict(json.loads(stored.read_text()))
    test = HeldOut(open_dataset(run.test_data), run.image_size)
    if (folder / TENSORS).is_file():
        found = {**_tested(load_classifier(folder)[0].to(command_device()), test, attacks, seed=run.seed), "diverged": 0.0}
    else:
        found = _of_uniform_predictions(len(test.dataset.classes), attacks)
    found |= _method_numbers(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(stored, json.dumps(found, indent=2) + "\n")
    return found


def _method_numbers(folder: Path) -> dict[str, float]:
    """Return the numbers that the methods of a run reported, as ``KIND.NAME``, see ``Method.files``."""
    reports = sorted((folder / "methods").glob("*/report.json"))
    return {f"{path.parent.name}.{name}": value for path in reports for name, value in json.loads(path.read_text())["numbers"].items()}


def _of_uniform_predictions(classes: int, attacks: AttackConfig) -> dict[str, float]:
    """Return the measures that stand for an arm whose numbers became non-finite."""
    accuracy = 1 / classes
    attacked = {name: accuracy for name, size in _attacked(attacks).items() if size}
    scores = {"accuracy": accuracy, "top5": min(1.0, 5 / classes), "loss": math.log(classes), "calibration_error": 0.0}
    return {**scores, **attacked, "diverged": 1.0}


def _attacked(attacks: AttackConfig) -> dict[str, float]:
    return {"accuracy_gaussian": attacks.gaussian, "accuracy_fgsm": attacks.fgsm, "accuracy_pgd": attacks.pgd}


def _tested(network: nn.Module, test: HeldOut, attacks: AttackConfig, *, seed: int) -> dict[str, float]:
    """Return the measures of a trained network."""
    found = clean_scores(network, test)
    changed = evenly(test, attacks.images)
    sizes = _attacked(attacks)
    gaussian, fgsm, pgd = ((size,) if size else () for size in sizes.values())
    values = robustness(network, changed, gaussian=gaussian, fgsm_epsilons=fgsm, pgd_epsilons=pgd, seed=seed).values()
    return found | dict(zip((name for name, size in sizes.items() if size), values, strict=True))


def _network_of(run: ClassifierRunConfig) -> nn.Module:
    """Return the network of an arm as training left it; a new one where training diverged."""
    folder = Path(run.runs_dir) / run.name
    if (folder / TENSORS).is_file():
        network: nn.Module = load_classifier(folder)[0]
        return network
    dataset = open_dataset(run.data)
    return build_network(run, dataset, splits(run, dataset).training).network


def step_costs(runs: Mapping[str, ClassifierRunConfig]) -> dict[str, dict[str, Any]]:
    """Return parameters, MACs, seconds and peak bytes of a training step of every arm, timed in alternation on the command's device.

    The network is the trained one, whose structure a training method may have changed, or a new one where the arm diverged.
    """
    device = command_device()
    steps: dict[str, Callable[[], None]] = {}
    found: dict[str, dict[str, Any]] = {}
    for arm, run in runs.items():
        network = _network_of(run).to(device)
        images = torch.zeros(run.trainer.batch_size, 3, run.image_size, run.image_size, device=device)
        steps[arm] = training_step(network, images)
        counted = counts(network, images[:1])
        found[arm] = {"parameters": counted.parameters, "macs": counted.macs, "memory": peak_bytes(steps[arm], device=device)}
    for arm, taken in seconds(steps, repeats=STEP_ROUNDS, device=device).items():
        found[arm]["step_seconds"] = taken
    return found
