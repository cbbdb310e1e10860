"""Train the same small network with a layer, method or setting swapped, on paired seeds and equal budgets, and test the published claim."""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gconv_gan.commands.ablation.workers import train_all
from gconv_gan.commands.score.classifier_card import clean_scores, evenly
from gconv_gan.commands.train.classifier_data import splits
from gconv_gan.commands.train.classifier_network import build_network
from gconv_gan.config.errors import UserError, reworded
from gconv_gan.config.load import load_config, parse_command
from gconv_gan.config.plugins import take_plugins
from gconv_gan.config.sections.classifiers import ClassifierRunConfig
from gconv_gan.config.sections.comparisons import AttackConfig, CompareCommand, ComparisonConfig
from gconv_gan.config.sections.data import as_flags
from gconv_gan.data.batches.held_out import HeldOut
from gconv_gan.data.cache import open_dataset
from gconv_gan.experiments.arms import arm_fields, load_experiment, named_run
from gconv_gan.experiments.claims import ArmResult, judge, overall
from gconv_gan.experiments.plot import plot
from gconv_gan.experiments.report import ComparisonResult, table
from gconv_gan.metrics.classification.robustness import robustness
from gconv_gan.metrics.cost import counts, peak_bytes, seconds, training_step
from gconv_gan.metrics.extractors.trained_classifier import TENSORS, load_classifier
from gconv_gan.runtime.atomic import write_bytes, write_text
from gconv_gan.runtime.device import command_device
from gconv_gan.runtime.run_folder import versions

COMPARISONS = Path("configs/compare")
STEP_ROUNDS = 15


def main(arguments: Sequence[str]) -> None:
    """Run the comparisons that the command line names; print their table and write it as JSON and as a plot."""
    plugins, options = take_plugins(arguments)
    command = parse_command(CompareCommand, options)
    folder = Path(command.results)
    if command.table:
        results = stored_results(folder, command.comparisons)
        print(table(results))
        for result in results:
            write_bytes(folder / f"layers_{result.name}.png", plot(result))
        return
    for config in [load_experiment(ComparisonConfig, path, plugins) for path in _files(command)]:
        result = compare(config, command)
        print(table([result]))
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / f"layers_{result.name}.json", result.model_dump_json(indent=2) + "\n")
        write_bytes(folder / f"layers_{result.name}.png", plot(result))


def _files(command: CompareCommand) -> list[Path]:
    if not command.comparisons:
        return sorted(COMPARISONS.glob("*.toml"))
    return [Path(name) if name.endswith(".toml") else COMPARISONS / f"{name}.toml" for name in command.comparisons]


def stored_results(folder: Path, names: Sequence[str] = ()) -> list[ComparisonResult]:
    """Return the results in ``folder`` called ``names`` (none: all, in the order of their names).

    Raises:
        UserError: there is no such result, or it cannot be read.

    """
    paths = [folder / f"layers_{Path(name).stem if name.endswith('.toml') else name}.json" for name in names]
    paths = paths or sorted(folder.glob("layers_*.json"))
    for path in paths:
        if not path.is_file():
            raise UserError(f"{folder} holds no result {path.name}: run eval/compare_layers.py without --table first")
    if not paths:
        raise UserError(f"{folder} holds no results of comparisons (layers_NAME.json): run eval/compare_layers.py first")
    return [load_config(ComparisonResult, path) for path in paths]


def compare(config: ComparisonConfig, command: CompareCommand) -> ComparisonResult:
    """Return the result of a comparison: train the arms that are not trained yet, test them, measure costs, test the claims."""
    start = time.perf_counter()
    seeds = tuple(range(command.seeds or config.seeds))
    runs = {arm: [arm_run(config, command, arm, seed) for seed in seeds] for arm in config.arms}
    left = {(arm, seed): runs[arm][seed] for seed in seeds for arm in runs if not _result(runs[arm][seed]).is_file()}
    flags = {"path": "--data-path", "cache_dir": "--cache-dir"}
    with reworded(partial(as_flags, flags, str(config.run["data"]["kind"]))):
        if left:
            for run in left.values():  # data are converted once, before the processes start
                for data in (run.data, run.test_data):
                    open_dataset(data)
            train_all(left, processes=command.processes, limit=None, along=lambda images, _: print(f"{images:,} images", flush=True))
        measured = {arm: [trained_measures(run, config.attacks) for run in runs[arm]] for arm in runs}
        costs = step_costs({arm: configs[0] for arm, configs in runs.items()})
    arms = {arm: ArmResult(**costs[arm], seeds=seeds, measures=by_measure(measured[arm])) for arm in runs}
    findings = tuple(judge(claim, arms) for claim in config.claims)
    first = next(iter(runs.values()))[0]
    return ComparisonResult(
        name=config.name,
        claim=config.claim,
        source=config.source,
        setting=config.setting,
        images=first.trainer.total_images,
        arms=arms,
        findings=findings,
        verdict=overall(findings),
        config=json.loads(config.model_dump_json()),
        versions=versions(),
        seconds=time.perf_counter() - start,
    )


def by_measure(seeds: Sequence[Mapping[str, float]]) -> dict[str, tuple[float, ...]]:
    """Return the numbers of the seeds of an arm by measure, those that every seed has."""
    return {name: tuple(one[name] for one in seeds) for name in seeds[0] if all(name in one for one in seeds)}


def arm_run(config: ComparisonConfig, command: CompareCommand, arm: str, seed: int) -> ClassifierRunConfig:
    """Return the run of one arm with one seed."""
    fields = arm_fields({}, config, arm)
    data = {"path", "cache_dir"}
    attacks = config.attacks.model_dump_json()
    return named_run(
        ClassifierRunConfig, fields, command, (config.name, arm, seed), left_out={"data": data, "test_data": data}, also=attacks
    )


def _result(run: ClassifierRunConfig) -> Path:
    return Path(run.runs_dir) / run.name / "result.json"


def trained_measures(run: ClassifierRunConfig, attacks: AttackConfig) -> dict[str, float]:
    """Return the measures of a trained arm: from its ``result.json``, or by testing it; one without a network diverged."""
    stored = _result(run)
    folder = stored.parent
    if stored.is_file():
        return dict(json.loads(stored.read_text()))
    test = HeldOut(open_dataset(run.test_data), run.image_size)
    if (folder / TENSORS).is_file():
        found = {**tested(load_classifier(folder)[0].to(command_device()), test, attacks, seed=run.seed), "diverged": 0.0}
    else:
        found = diverged(len(test.dataset.classes), attacks)
    found |= method_numbers(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(stored, json.dumps(found, indent=2) + "\n")
    return found


def method_numbers(folder: Path) -> dict[str, float]:
    """Return the numbers that the methods of a run reported, as ``KIND.NAME``, see ``Method.files``."""
    reports = sorted((folder / "methods").glob("*/report.json"))
    return {f"{path.parent.name}.{name}": value for path in reports for name, value in json.loads(path.read_text())["numbers"].items()}


def diverged(classes: int, attacks: AttackConfig) -> dict[str, float]:
    """Return the measures of uniform predictions, which stand for an arm whose numbers became non-finite."""
    accuracy = 1 / classes
    attacked = {name: accuracy for name, size in _attacked(attacks).items() if size}
    scores = {"accuracy": accuracy, "top5": min(1.0, 5 / classes), "loss": math.log(classes), "calibration_error": 0.0}
    return {**scores, **attacked, "diverged": 1.0}


def _attacked(attacks: AttackConfig) -> dict[str, float]:
    return {"accuracy_gaussian": attacks.gaussian, "accuracy_fgsm": attacks.fgsm, "accuracy_pgd": attacks.pgd}


def tested(network: nn.Module, test: HeldOut, attacks: AttackConfig, *, seed: int) -> dict[str, float]:
    """Return the measures of a trained network."""
    found = clean_scores(network, test)
    changed = evenly(test, attacks.images)
    sizes = _attacked(attacks)
    gaussian, fgsm, pgd = ((size,) if size else () for size in sizes.values())
    values = robustness(network, changed, gaussian=gaussian, fgsm_epsilons=fgsm, pgd_epsilons=pgd, seed=seed).values()
    return found | dict(zip((name for name, size in sizes.items() if size), values, strict=True))


def network_of(run: ClassifierRunConfig) -> nn.Module:
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
        network = network_of(run).to(device)
        images = torch.zeros(run.trainer.batch_size, 3, run.image_size, run.image_size, device=device)
        steps[arm] = training_step(network, images)
        counted = counts(network, images[:1])
        found[arm] = {"parameters": counted.parameters, "macs": counted.macs, "step_bytes": peak_bytes(steps[arm], device=device)}
    for arm, taken in seconds(steps, repeats=STEP_ROUNDS, device=device).items():
        found[arm]["step_seconds"] = taken
    return found
