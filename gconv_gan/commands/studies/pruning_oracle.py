"""Correlation of pruning criteria with the measured change of a classifier's loss when each unit is removed."""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
import tyro
from pydantic import PositiveInt
from scipy.stats import pearsonr, spearmanr
from torch import Tensor, nn

from gconv_gan.commands.train.classifier_data import splits
from gconv_gan.commands.train.trained.trained_folders import trained_folders
from gconv_gan.config.base import Config
from gconv_gan.config.commands import JsonFile
from gconv_gan.config.errors import UserError
from gconv_gan.config.load import load_config, parse_command
from gconv_gan.config.sections.classifiers import ClassifierRunConfig
from gconv_gan.data.batches.held_out import HeldOut
from gconv_gan.data.cache import open_dataset
from gconv_gan.experiments.paired import paired_test
from gconv_gan.experiments.plot import dots
from gconv_gan.layers.slicing import sizes, slices
from gconv_gan.methods.surgery import Masks, Reading, Units, units_of
from gconv_gan.methods.taylor import ranking, second_order
from gconv_gan.metrics.classification.predictions import hits, predictions
from gconv_gan.metrics.extractors.trained_classifier import load_classifier
from gconv_gan.runtime.device import command_device
from gconv_gan.runtime.files.atomic import write_bytes, write_text
from gconv_gan.runtime.run_folder import versions

Batch = tuple[Tensor, Tensor]
FIRST = "Taylor, first order"


class PruningOracleCommand(Config):
    """Compare pruning criteria with the change of the loss when each unit of a trained classifier is removed."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN|CONFIG")]
    """Folders of classifiers, or the config of one, which is trained with every seed."""
    seeds: PositiveInt = 3
    """Seeds 0, 1, … of a config."""
    runs_dir: str = "runs/pruning_oracle"
    """Folder of a config's runs."""
    data_path: str | None = None
    """Path of the data; None: that of the run's config."""
    cache_dir: str | None = None
    """Folder of converted data; None: that of the run's config."""
    batches: PositiveInt = 10
    """Training batches of the criteria, and as many others of the oracle; without augmentation, in evaluation mode."""
    batch_size: PositiveInt = 100
    draws: PositiveInt = 10
    """Random rankings, of which the mean is taken."""
    share: float = 0.25
    """Share of the units that each criterion removes for the accuracy without fine-tuning."""
    json_out: JsonFile = None
    """Write the result here."""
    png: str | None = None
    """Draw the rank correlations here."""


def main(arguments: Sequence[str]) -> None:
    """Print the table of criteria; write it as JSON and as a picture."""
    command = parse_command(PruningOracleCommand, arguments)
    folders = trained_folders(command.runs, seeds=command.seeds, runs_dir=command.runs_dir, places=_places(command))
    results = [measured(folder, command) for folder in folders]
    result = {
        "format": 1,
        "settings": command.model_dump(mode="json", include={"batches", "batch_size", "draws", "share"}),
        "runs": results,
        "versions": versions(),
    }
    print(table(results))
    if command.json_out:
        write_text(Path(command.json_out), json.dumps(result, indent=2) + "\n")
    if command.png:
        criteria = {name: [float(one["criteria"][name]["spearman"]) for one in results] for name in results[0]["criteria"]}
        write_bytes(Path(command.png), dots(criteria, title="rank correlation with the oracle", label="Spearman's ρ"))


def _places(command: PruningOracleCommand) -> dict[str, str]:
    return {key: value for key, value in (("path", command.data_path), ("cache_dir", command.cache_dir)) if value is not None}


def measured(folder: Path, command: PruningOracleCommand) -> dict[str, Any]:
    """Return the correlations of every criterion with the oracle, and the accuracies after a removal, of one run.

    Raises:
        UserError: there is no trained classifier, it cannot be cut, or it has too few training images.

    """
    network = load_classifier(folder)[0].to(command_device())
    config = load_config(ClassifierRunConfig, folder / "config.json")
    dataset, test = (open_dataset(section.model_copy(update=_places(command))) for section in (config.data, config.test_data))
    training = splits(config, dataset).training
    needed = 2 * command.batches * command.batch_size
    if len(training) < needed:
        raise UserError(f"{folder}: {needed} training images are needed, but there are {len(training)}: give fewer --batches")
    chosen = np.sort(np.random.default_rng(config.seed).permutation(training)[:needed])
    device = command_device()
    data = HeldOut(dataset, config.image_size, np.random.default_rng(0).permutation(chosen))
    batches = [(images.to(device), labels.to(device)) for images, labels in data.batches(command.batch_size)]
    ours, others = batches[: command.batches], batches[command.batches :]
    units = units_of("the comparison", "classifier", network)
    scores = criteria(network, units, ours)
    truth = oracle(network, units, others)
    heldout = HeldOut(test, config.image_size)
    count = round(command.share * len(units))

    def described(values: Tensor) -> dict[str, float]:
        removed = units.removable(ranking(values), count)
        return {
            "pearson": float(pearsonr(values, truth).statistic),
            "spearman": float(spearmanr(values, truth).statistic),
            "accuracy": accuracy(network, units, removed, heldout),
        }

    found = {name: described(values) for name, values in scores.items()}
    draws = [described(torch.rand(len(units), generator=torch.Generator().manual_seed(draw))) for draw in range(command.draws)]
    found["random"] = {key: statistics.fmean(draw[key] for draw in draws) for key in draws[0]}
    found["oracle"] = described(truth)
    return {
        "run": folder.name,
        "seed": config.seed,
        "units": len(units),
        "removed": count,
        "accuracy": accuracy(network, units, [], heldout),
        "criteria": found,
        "random_draws": draws,
    }


# ---- criteria ------------------------------------------------------------------------------------------------------


def criteria(network: nn.Module, units: Units, batches: Sequence[Batch]) -> dict[str, Tensor]:
    """Return the score of every unit by each criterion, on the CPU; the network is in evaluation mode."""
    reading = Reading(network, units)
    first, second = [], []
    for images, labels in batches:

        def loss(one: Callable[..., Any], images: Tensor = images, labels: Tensor = labels) -> Tensor:
            return F.cross_entropy(one(images), labels)

        network.zero_grad()
        torch.autograd.backward(loss(network))
        first.append(reading.gradient().square())
        second.append(second_order(network, reading, loss, range(len(units))))
    network.zero_grad()
    raw, by_layer = weight_norms(network, units)
    scales, scales_by_layer = norm_scales(network, units)
    found = {
        FIRST: torch.stack(first).mean(0),
        "Taylor, second order": torch.stack(second).mean(0),
        "weight norm": raw,
        "weight norm / layer's mean": by_layer,
        "|γ|": scales,
        "|γ| / layer's mean": scales_by_layer,
    }
    return {name: values.detach().cpu().double() for name, values in found.items()}


def weight_norms(network: nn.Module, units: Units) -> tuple[Tensor, Tensor]:
    """Return the sum of squares of the filters that write each unit, as they are and divided by their layer's mean."""
    return _by_outputs(network, units, lambda layer: "inputs" in sizes(layer), lambda weight: weight.square().flatten(1).sum(1))


def norm_scales(network: nn.Module, units: Units) -> tuple[Tensor, Tensor]:
    """Return the sum of the absolute scales of each unit's norms, as they are and divided by their layer's mean."""
    return _by_outputs(network, units, lambda layer: "inputs" not in sizes(layer), torch.abs)


def _by_outputs(
    network: nn.Module, units: Units, wanted: Callable[[nn.Module], bool], value: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    raw, by_layer = torch.zeros(len(units)), torch.zeros(len(units))
    for layer, axis in units.slots():
        module = network.get_submodule(layer)
        if axis != "outputs" or not wanted(module):
            continue
        for part in slices(module, axis):
            if part.name == "weight":
                values = value(part.tensor.detach().cpu())
                for channel, unit in enumerate(units.of(layer, axis)):
                    if unit is not None:
                        raw[unit] += values[channel]
                        by_layer[unit] += values[channel] / values.mean()
    return raw, by_layer


@torch.no_grad()
def oracle(network: nn.Module, units: Units, batches: Sequence[Batch]) -> Tensor:
    """Return the squared change of the loss over all ``batches`` that removing each unit alone makes."""
    whole = _loss(network, batches)
    return torch.stack([_without(network, units, [unit], lambda: _loss(network, batches)) - whole for unit in range(len(units))]).square()


def _loss(network: nn.Module, batches: Sequence[Batch]) -> Tensor:
    return torch.stack([F.cross_entropy(network(images), labels) for images, labels in batches]).double().mean().cpu()


def accuracy(network: nn.Module, units: Units, removed: Sequence[int], data: HeldOut) -> float:
    """Return the accuracy without the units ``removed``, with the running statistics as they are."""
    return float(_without(network, units, removed, lambda: hits(*predictions(network, data)).mean()))


def _without(network: nn.Module, units: Units, removed: Sequence[int], measure: Callable[[], Tensor]) -> Tensor:
    """Return the result of ``measure`` while the units ``removed`` are held at 0."""
    kept = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    masks = Masks(network, units)
    masks.set(removed)
    masks.apply()
    try:
        return measure()
    finally:
        network.load_state_dict(kept)


# ---- the table -----------------------------------------------------------------------------------------------------


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """Return the means over runs, and their deviations, as text; the lead of the first order with its 95 % interval over pairs of runs."""
    whole = _spread([100 * one["accuracy"] for one in results], 1)
    less = f"accuracy, {results[0]['removed']} units less, %"
    lines = [
        f"{len(results)} runs, {results[0]['units']} units; scores and oracle on different training batches;"
        f" accuracy of the whole networks {whole} %",
        f"{'criterion':28} {'Pearson':>16} {'Spearman':>16} {less:>30} {'first order leads by, points':>30}",
    ]
    for name in results[0]["criteria"]:
        rows = [one["criteria"][name] for one in results]
        pearson, spearman = (_spread([row[key] for row in rows], 2) for key in ("pearson", "spearman"))
        accuracies = [100 * row["accuracy"] for row in rows]
        leads = [100 * one["criteria"][FIRST]["accuracy"] - value for one, value in zip(results, accuracies, strict=True)]
        lead = ""
        if name != FIRST and len(leads) > 1:
            test = paired_test(leads)
            lead = f"{test.mean:+.1f} [{test.interval[0]:+.1f}, {test.interval[1]:+.1f}]"
        lines.append(f"{name:28} {pearson:>16} {spearman:>16} {_spread(accuracies, 1):>30} {lead:>30}")
    return "\n".join(lines)


def _spread(values: Sequence[float], digits: int) -> str:
    mean = f"{statistics.fmean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.{digits}f}"
