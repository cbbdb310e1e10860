"""Whether gradient-matrix pruning, a reconstruction, finds planted redundancy and removes it without a change of the function."""

import copy
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch.nn.functional as F
import tyro
from pydantic import PositiveInt
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
from gconv_gan.experiments.plants import PLANTS, planted
from gconv_gan.methods.gradient_matrix import THRESHOLDS, Estimate, Layer, layers_of, measure, removable, removal, repair
from gconv_gan.methods.surgery import cut, units_of
from gconv_gan.metrics.classification.predictions import hits, predictions
from gconv_gan.metrics.extractors.trained_classifier import load_classifier
from gconv_gan.runtime.files.atomic import write_text
from gconv_gan.runtime.run_folder import versions

Batch = tuple[Tensor, Tensor]


class PlantedRedundancyCommand(Config):
    """Plant redundant channels in trained classifiers, estimate them and remove them: gradient-matrix pruning, a reconstruction."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN|CONFIG")]
    """Folders of classifiers that begin with two convolutions without a norm, or the config of one, which is trained with every seed."""
    seeds: PositiveInt = 5
    """Seeds 0, 1, … of a config."""
    runs_dir: str = "runs/planted_redundancy"
    """Where a config's runs are."""
    data_path: str | None = None
    """Path of the data; None: that of the run's config."""
    cache_dir: str | None = None
    """Folder of converted data; None: that of the run's config."""
    batches: PositiveInt = 60
    """Training batches of an estimate; without augmentation, in evaluation mode."""
    batch_size: PositiveInt = 50
    images: PositiveInt = 2000
    """Test images on which logits are compared."""
    json_out: JsonFile = None
    """Write the result here."""


def main(arguments: Sequence[str]) -> None:
    """Print the table of plants; write it as JSON."""
    command = parse_command(PlantedRedundancyCommand, arguments)
    places = {key: value for key, value in (("path", command.data_path), ("cache_dir", command.cache_dir)) if value is not None}
    folders = trained_folders(command.runs, seeds=command.seeds, runs_dir=command.runs_dir, places=places)
    results = [measured(folder, command, places) for folder in folders]
    print(table(results))
    if command.json_out:
        result = {
            "format": 1,
            "settings": command.model_dump(mode="json", include={"batches", "batch_size", "images"}),
            "runs": results,
            "versions": versions(),
        }
        write_text(Path(command.json_out), json.dumps(result, indent=1) + "\n")


def measured(folder: Path, command: PlantedRedundancyCommand, places: Mapping[str, str]) -> dict[str, Any]:
    """Return what is estimated and what removals change, by plant, of one run.

    Raises:
        UserError: nothing can be planted in the classifier, or it has too few training images.

    """
    network = load_classifier(folder)[0]
    config = load_config(ClassifierRunConfig, folder / "config.json")
    dataset, test = (open_dataset(section.model_copy(update=places)) for section in (config.data, config.test_data))
    training, needed = splits(config, dataset).training, command.batches * command.batch_size
    if len(training) < needed:
        raise UserError(f"{folder}: {needed} training images are needed, but there are {len(training)}: give fewer --batches")
    chosen = np.random.default_rng(config.seed).permutation(training)[:needed]
    batches = list(HeldOut(dataset, config.image_size, chosen).batches(command.batch_size))
    heldout = HeldOut(test, config.image_size, np.random.default_rng(0).permutation(len(test))[: command.images])
    logits, labels = predictions(network, heldout)
    plants = {}
    for name in PLANTS:
        case = Case(planted(network, name, seed=config.seed), batches, heldout)
        plants[name] = {**case.estimate(), "planting": case.differences(logits, case.network), **case.removals()}
    return {
        "run": folder.name,
        "seed": config.seed,
        "accuracy": float(hits(logits, labels).mean()),
        "spread": float(logits.std()),
        "plants": plants,
    }


class Case:
    """One planted network; its first layer of channels is the planted one."""

    def __init__(self, network: nn.Module, batches: Sequence[Batch], heldout: HeldOut) -> None:
        self.network, self.batches, self.heldout = network, batches, heldout
        self.units = units_of("the experiment", "classifier", network)
        self.logits, self.labels = predictions(network, heldout)
        self.first = self._estimated(network, [])

    def _layer(self, network: nn.Module, before: Collection[int]) -> Layer:
        return layers_of(network, self.units, before)[0]

    def _estimated(self, network: nn.Module, before: Collection[int]) -> Estimate:
        network.eval()

        def loss(images: Tensor, labels: Tensor) -> Tensor:
            return F.cross_entropy(network(images), labels)

        losses: list[Callable[[], Tensor]] = [partial(loss, images, labels) for images, labels in self.batches]
        return measure([self._layer(network, before)], losses)[0]

    def estimate(self) -> dict[str, Any]:
        """Return the ranks of the planted layer and the gap behind the smaller one."""
        one = self.first
        incoming, outgoing = one.ranks("threshold", 1e-3)
        rank = one.rank()
        values = (one.incoming if incoming <= outgoing else one.outgoing).singular_values
        return {
            "channels": one.size,
            "incoming": incoming,
            "outgoing": outgoing,
            "rank": rank,
            "gap": float(values[rank - 1] / values[rank]) if rank < one.size and values[rank] else None,
            "ranks": {f"{threshold:g}": one.rank("threshold", threshold) for threshold in THRESHOLDS} | {"energy": one.rank("energy")},
            "singular_values": {
                "incoming": [float(f"{value:.3g}") for value in one.incoming.singular_values / one.incoming.singular_values[0]],
                "outgoing": [float(f"{value:.3g}") for value in one.outgoing.singular_values / one.outgoing.singular_values[0]],
            },
        }

    def removals(self) -> dict[str, Any]:
        """Return the change that removing channels to r makes, with and without repair, to r - 1, and in rounds until none is redundant."""
        one, rank = self.first, self.first.rank()
        order = one.order("pivots", "threshold", 1e-3)
        found: dict[str, Any] = {}
        for name, left, repaired in (("to r", rank, True), ("to r, no repair", rank, False), ("to r - 1", rank - 1, True)):
            network = copy.deepcopy(self.network)
            self._remove(network, one, order[left:], [], repaired=repaired)
            found[name] = self.differences(self.logits, network)
        network, removed, path = copy.deepcopy(self.network), list[int](), [one.size]
        while True:
            estimate = self._estimated(network, removed)
            rows = removable(self.units, estimate, removed)
            if not rows:
                break
            self._remove(network, estimate, rows, removed)
            removed += [estimate.layer.units[row] for row in rows]
            path.append(estimate.size - len(rows))
        found["rounds"] = {"channels": path, **self.differences(self.logits, network)}
        return found

    def _remove(
        self, network: nn.Module, estimate: Estimate, rows: Sequence[int], before: Collection[int], *, repaired: bool = True
    ) -> None:
        if repaired:
            repair(self._layer(network, before), removal([estimate], 0, rows))
        cut(network, self.units, [estimate.layer.units[row] for row in rows], before=before)

    def differences(self, logits: Tensor, network: nn.Module) -> dict[str, float]:
        """Return the largest difference of the logits, and the change of accuracy in points, of ``network``."""
        found, labels = predictions(network, self.heldout)
        change = 100 * float(hits(found, labels).mean() - hits(logits, labels).mean())
        return {"logits": float((found - logits).abs().max()), "points": change}


# ---- the table -----------------------------------------------------------------------------------------------------


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """Return ranks, and for each removal the largest change of a logit (smallest to largest over runs) and of the accuracy."""
    accuracies, spreads = ([one[key] for one in results] for key in ("accuracy", "spread"))
    lines = [
        f"Gradient-matrix pruning, a reconstruction: estimates and removals in {len(results)} runs; accuracy"
        f" {100 * min(accuracies):.1f} to {100 * max(accuracies):.1f} %, deviation of the logits {min(spreads):.2f} to {max(spreads):.2f}",
        "C: channels; r by τ = 1e-3, a number for each run; |Δ|: largest change of a logit, least to most over runs; points: of accuracy",
    ]
    for name in PLANTS:
        rows = [one["plants"][name] for one in results]
        gaps = [row["gap"] for row in rows if row["gap"] is not None]
        ranks = {key: sorted({row["ranks"][key] for row in rows}) for key in rows[0]["ranks"]}
        lines += [
            f"\n{name}: C = {rows[0]['channels']}, rank of the incoming matrix {_each(rows, 'incoming')}, of the outgoing"
            f" {_each(rows, 'outgoing')}; r {_each(rows, 'rank')}; σ_r / σ_(r+1) at least {min(gaps, default=float('nan')):.1e}",
            "  r by rule: " + ", ".join(f"{key}: {_range(values)}" for key, values in ranks.items()),
        ]
        for kind in ("to r", "to r, no repair", "to r - 1", "rounds"):
            logits, points = ([row[kind][key] for row in rows] for key in ("logits", "points"))
            path = f"  {' / '.join('→'.join(map(str, row[kind]['channels'])) for row in rows)}" if kind == "rounds" else ""
            lines.append(f"  {kind:16} |Δ| {min(logits):.1e} to {max(logits):.1e}   {min(points):+.2f} to {max(points):+.2f} points{path}")
    return "\n".join(lines)


def _each(rows: Sequence[Mapping[str, Any]], key: str) -> str:
    return " ".join(str(row[key]) for row in rows)


def _range(values: Sequence[int]) -> str:
    return str(values[0]) if len(values) == 1 else f"{values[0]}–{values[-1]}"
