"""A sweep over effective learning rates on the sphere: convergence, chaotic equilibrium and divergence, with the phase plot."""

import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from gconv_gan.commands.train.classifier import fit
from gconv_gan.commands.train.classifier_data import splits
from gconv_gan.commands.train.classifier_network import build_network
from gconv_gan.commands.train.listed_methods import checked, listed_methods
from gconv_gan.config.errors import UserError, reworded
from gconv_gan.config.load import load_config, parse_command
from gconv_gan.config.schema import constructor
from gconv_gan.config.sections.classifiers import ClassifierRunConfig
from gconv_gan.config.sections.data import as_flags
from gconv_gan.config.sections.regimes import SphereCommand
from gconv_gan.data.cache import open_dataset
from gconv_gan.experiments.arms import named_run
from gconv_gan.experiments.regime_plot import plot_sweep
from gconv_gan.experiments.regimes import Initial, SphereRun, SphereSweep, detect, sweep_table
from gconv_gan.methods.method import Player, PlayerName, Progress
from gconv_gan.metrics.cost import seconds
from gconv_gan.runtime.device import command_device
from gconv_gan.runtime.files.atomic import write_bytes, write_text
from gconv_gan.runtime.run_folder import versions
from gconv_gan.runtime.tracking import read_metrics
from gconv_gan.training.guards import FiniteGuard, NotFiniteError
from gconv_gan.training.step import finish_step

NO_STEP = 1e-30  # an effective learning rate that leaves float32 weights as they are
LOSS, GRADIENT = "loss", "effective_gradient_norm/classifier/all"  # in metrics.jsonl
DIGITS = 4  # of stored numbers
STEP_ROUNDS = 30


def main(arguments: Sequence[str]) -> None:
    """Train the sweep that the command line names; print its table and write it as JSON and as a picture."""
    command = parse_command(SphereCommand, arguments)
    folder, name = Path(command.results), Path(command.config).stem
    file = folder / f"{name}.json"
    if command.table:
        if not file.is_file():
            raise UserError(f"there is no result {file}: run eval/sphere.py {command.config} without --table first")
        result = load_config(SphereSweep, file)
    else:
        result = sweep(command)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(file, result.model_dump_json() + "\n")
    print(sweep_table(result))
    write_bytes(folder / f"{name}.png", plot_sweep(result))


def sweep(command: SphereCommand) -> SphereSweep:
    """Return the trajectories and regimes of all runs; train those that are not trained yet, seed by seed.

    Raises:
        UserError: the file is no classifier run on the sphere, or a run cannot be trained.

    """
    start, name = time.perf_counter(), Path(command.config).stem
    base = load_config(ClassifierRunConfig, command.config)
    if sum(method.kind == "sphere" for method in base.methods) != 1:
        raise UserError(f'{command.config} needs one [[methods]] with kind = "sphere", whose effective learning rate is varied')
    epochs = (command.images or base.trainer.total_images) // base.trainer.log_every
    if epochs < 3:
        raise UserError(f"{command.config}: {epochs} epochs of trainer.log_every = {base.trainer.log_every} images tell no regime: train 3")
    initial: dict[int, Initial] = {}
    runs: list[SphereRun] = []
    flags = {"path": "--data-path", "cache_dir": "--cache-dir"}
    with reworded(partial(as_flags, flags, base.data.kind)):
        for seed in command.seeds:
            before, _ = _trained(_run(base, command, NO_STEP, seed))
            initial[seed] = Initial(loss=before[0][LOSS], gradient=before[0][GRADIENT])
            for rate in sorted(command.effective_learning_rates):
                records, accuracy = _trained(_run(base, command, rate, seed))
                runs.append(_result(rate, seed, records, accuracy, initial[seed], command.window))
                print(f"seed {seed}, effective learning rate {rate:g}: {runs[-1].verdict.regime}", flush=True)
        timed = step_seconds(_run(base, command, NO_STEP, command.seeds[0]))
    return SphereSweep(
        name=name,
        initial=initial,
        runs=tuple(runs),
        step_seconds=timed,
        config=json.loads(base.model_dump_json()),
        versions=versions(),
        seconds=time.perf_counter() - start,
    )


def _run(base: ClassifierRunConfig, command: SphereCommand, rate: float, seed: int) -> ClassifierRunConfig:
    """Return the run of one effective learning rate and seed; with ``NO_STEP`` it has one epoch."""
    fields: dict[str, Any] = base.model_dump(mode="json", exclude_unset=True)
    fields["methods"] = [
        {**method, "effective_learning_rate": rate} if method["kind"] == "sphere" else method for method in fields["methods"]
    ]
    if all(method["kind"] != "effective_learning_rates" for method in fields["methods"]):
        fields["methods"].append({"kind": "effective_learning_rates"})
    if rate == NO_STEP:
        command = command.model_copy(update={"images": base.trainer.log_every})
    return named_run(ClassifierRunConfig, fields, command, (Path(command.config).stem, f"elr{rate:g}", seed))


def _trained(run: ClassifierRunConfig) -> tuple[list[dict[str, Any]], float | None]:
    """Return the epochs of a run and its test accuracy, None where numbers were not finite; train it if that was not done."""
    folder = Path(run.runs_dir) / run.name
    stored = folder / "result.json"
    if not stored.is_file():
        try:
            accuracy: float | None = fit(run)["accuracy"]
        except NotFiniteError as stopped:
            print(f"{run.name}: {stopped}")
            accuracy = None
        write_text(stored, json.dumps({"accuracy": accuracy}) + "\n")
    records = [record for record in read_metrics(folder / "metrics.jsonl") if GRADIENT in record]
    return records, json.loads(stored.read_text())["accuracy"]


def step_seconds(run: ClassifierRunConfig) -> dict[str, float]:
    """Return the seconds of a training step: plain SGD, with the sphere, and with the measured effective learning rates; timed in turns."""
    device, dataset = command_device(), open_dataset(run.data)
    training = splits(run, dataset).training
    candidates = {
        name: _step(run, build_network(run, dataset, training).network.to(device), kinds, device)
        for name, kinds in (("SGD", ()), ("sphere", ("sphere",)), ("effective_learning_rates", ("effective_learning_rates",)))
    }
    return seconds(candidates, repeats=STEP_ROUNDS, device=device)


def _step(run: ClassifierRunConfig, network: nn.Module, kinds: Sequence[str], device: torch.device) -> Callable[[], None]:
    """Return one training step on a fixed batch, with the methods of the run of these kinds."""
    optimizers: dict[PlayerName, Any] = {"classifier": constructor(run.optimizer, "optimizer")}
    listed = listed_methods([method for method in run.methods if method.kind in kinds])
    methods = checked(listed, {"classifier": network}, optimizers, None, total_images=run.trainer.total_images)
    player = Player("classifier", network, constructor(run.optimizer, "optimizer"), run.optimizer.learning_rate)
    for method in methods:
        for module in method.state().values():
            module.to(device)
        method.start({"classifier": player}, no_losses)
        method.begin({"classifier": player}, Progress())
    batch = run.trainer.batch_size
    images = torch.randn(batch, 3, run.image_size, run.image_size, generator=torch.Generator().manual_seed(0)).to(device)
    labels, guard, seen = torch.arange(batch, device=device) % 2, FiniteGuard(device), torch.zeros((), dtype=torch.int64, device=device)

    def step() -> None:
        torch.autograd.backward(cross_entropy(network.train()(images), labels))
        finish_step(player, methods=methods, guard=guard, max_grad_norm=None, images_seen=seen)

    return step


def no_losses(player: PlayerName, halves: Sequence[int], network: Callable[..., Any] | None = None) -> torch.Tensor:
    """Return 0 in place of the losses of a run, which neither method reads."""
    return torch.zeros(())


def _result(
    rate: float, seed: int, records: Sequence[dict[str, Any]], accuracy: float | None, initial: Initial, window: int | None
) -> SphereRun:
    losses, gradients = ([float(record[name]) for record in records] for name in (LOSS, GRADIENT))
    if accuracy is None:  # the numbers of a run that is not finite end early
        losses, gradients = ([*values, *[float("inf")] * 3] for values in (losses, gradients))
    verdict = detect(losses, gradients, initial_loss=initial.loss, initial_gradient=initial.gradient, window=window)
    count = len(records)
    return SphereRun(
        effective_learning_rate=rate,
        seed=seed,
        images=tuple(int(record["images"]) for record in records),
        losses=tuple(_short(value) for value in losses[:count]),
        gradients=tuple(_short(value) for value in gradients[:count]),
        accuracy=0.0 if accuracy is None else accuracy,
        verdict=verdict,
    )


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
