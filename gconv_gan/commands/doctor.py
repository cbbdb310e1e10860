"""The doctor: what a run suffers from, with number, threshold, source and advice."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import PositiveInt

from gconv_gan.commands.score.compare_scores import stored
from gconv_gan.commands.train.networks import TrainedRun, build_networks, load_run
from gconv_gan.commands.train.next_steps import score_options
from gconv_gan.commands.train.objective import build_objective
from gconv_gan.config.base import Config
from gconv_gan.config.commands import Checkpoint, JsonFile, RunFolder
from gconv_gan.config.errors import UserError
from gconv_gan.config.load import parse_command, validated
from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.data.batches.subset import without_held_out
from gconv_gan.data.cache import open_dataset
from gconv_gan.data.image_dataset import ImageDataset
from gconv_gan.diagnosis import measure
from gconv_gan.diagnosis.diagnose import diagnose
from gconv_gan.diagnosis.evidence import Evidence, Measured
from gconv_gan.diagnosis.finding import Finding
from gconv_gan.diagnosis.overfitting import pictures
from gconv_gan.diagnosis.rules.average import RAW, SCORE_BOTH
from gconv_gan.gallery.latents import random_sheet
from gconv_gan.gallery.trained_generator import generate
from gconv_gan.runtime.device import command_device
from gconv_gan.runtime.files.atomic import write_text
from gconv_gan.runtime.tracking import read_metrics
from gconv_gan.training.checkpoint import load_network

SHOWN = 5
"""Findings that are printed; ``--json`` has all."""
SPLITS = {"train": ("test", "val", "valid"), "test": ("train",), "val": ("train",), "valid": ("train",)}
"""Split of the training images -> splits whose images were held out of it, in the order of search."""


class DoctorCommand(Config):
    """Say what a GAN's run suffers from, and what to do."""

    run: RunFolder
    checkpoint: Checkpoint = None
    num: PositiveInt = 2000
    """Images of each kind (training, held-out, generated) that are measured."""
    held_out: str | None = None
    """A folder, zip or tar of pictures that were not trained on; None: those of trainer.held_out, else another split of the run's data."""
    data_path: str | None = None
    """Path of the training data; None: that of the run's config."""
    cache_dir: str | None = None
    """Folder of converted data; None: that of the run's config."""
    json_out: JsonFile = None
    """Write all findings, also of rules that found nothing or were not measured, to this file."""


def main(arguments: Sequence[str]) -> None:
    """Print the findings about the run that the command line names."""
    command = parse_command(DoctorCommand, arguments)
    run = load_run(command.run, checkpoint=command.checkpoint)
    found = findings(run, Path(command.run), command)
    print("\n".join(report(run, found)))
    if command.json_out is not None:
        content = {
            "run": run.config.name,
            "checkpoint": run.checkpoint.name,
            "images_seen": run.images_seen,
            "findings": [finding.as_json() for finding in found],
        }
        write_text(Path(command.json_out), json.dumps(content, indent=2) + "\n")


def findings(run: TrainedRun, folder: Path, command: DoctorCommand) -> list[Finding]:
    """Return what every rule finds at the run's checkpoint."""
    records = [record for record in read_metrics(folder / "metrics.jsonl") if record["images"] <= run.images_seen]
    records += stored_scores(folder, run.images_seen)
    records.sort(key=lambda record: record["images"])
    return diagnose(Evidence(run.config, records, run.images_seen, measured(run, command)))


def stored_scores(folder: Path, images_seen: int) -> list[dict[str, Any]]:
    """Return the scores in a run's ``scores/`` up to ``images_seen`` as lines of a log."""
    if not any((folder / "scores").glob("*.json")):
        return []
    scores = [score for score in stored(str(folder)) if (score.card.fakes.images_seen or 0) <= images_seen]
    return [
        {
            "images": score.card.fakes.images_seen,
            **{
                f"{score.card.formula.protocol}/{key}{RAW if score.card.fakes.weights == 'raw' else ''}": value
                for key, value in score.scores.items()
            },
        }
        for score in scores
        if score.card.fakes.images_seen
    ]


def measured(run: TrainedRun, command: DoctorCommand) -> Measured:
    """Return the measurements at the run's checkpoint; of absent data only those that need none."""
    device, config = command_device(), run.config
    raw, averaged, discriminator = run.generator("raw"), run.generator().to(device), run.discriminator()
    sheet = random_sheet(0, "doctor", count=command.num, latent_dim=config.generator.latent_dim, num_classes=run.num_classes)
    fake = generate(averaged, sheet.z, sheet.y)
    absent: dict[str, str] = {}
    first_generator, first_discriminator = (None, None) if config.start_from else build_networks(config, run.num_classes)
    if config.start_from:
        absent["initial"] = "the run started from trained weights"
    found = Measured(
        deviation=measure.deviation(fake),
        spectra=(
            *measure.spectra("generator", raw, first_generator),
            *measure.spectra("discriminator", discriminator, first_discriminator),
        ),
        variances=measure.running_variances(averaged),
        gates=tuple(measure.gates(averaged, sheet)),
        absent=absent,
    )
    try:
        train = open_dataset(config_of_data(config, command))
    except UserError as error:
        absent["logits"] = absent["diversity"] = f"the training images are absent ({error})"
        return found
    if train.content_hash != run.state["data"]:
        absent["logits"] = absent["diversity"] = f"{train.title} is not the data of the run: name its own with --data-path"
        return found
    labelled = run.num_classes is not None
    training, held_out = without_held_out(train, share=config.trainer.held_out, seed=config.seed)
    reals, unseen = pictures(train, training, count=command.num, labelled=labelled), None
    others = train if len(held_out) and command.held_out is None else held_out_images(config, command, train)
    if others is None:
        absent["held_out"] = "no images are held out of training: name some with --held-out, or train with trainer.held_out = 0.05"
    else:
        unseen = pictures(others, held_out if others is train else np.arange(len(others)), count=command.num, labelled=labelled)
    objective = build_objective(config, discriminator, run.num_classes).to(device)
    for name, part in objective.state().items():
        load_network(run.checkpoint / f"{name}.safetensors", part)
    objective.begin(run.images_seen)
    trained = generate(raw.to(device), sheet.z, sheet.y)  # the discriminator is trained on these, not on those of the average
    logits = measure.logits(discriminator.to(device), objective, reals, measure.Pictures(trained, sheet.y), unseen)
    by_class = measure.distances_by_class(measure.Pictures(fake, sheet.y), reals, run.class_names)
    return replace(found, logits=logits, diversity=measure.distances(fake, reals.images), diversity_by_class=by_class)


def config_of_data(config: GANRunConfig, command: DoctorCommand, **changes: object) -> Any:
    """Return the section of the training data with the places that the command line gives, and further changes."""
    places = {name: value for name, value in {"path": command.data_path, "cache_dir": command.cache_dir}.items() if value is not None}
    whole = json.loads(config.model_dump_json())
    return validated(GANRunConfig, {**whole, "data": {**whole["data"], **places, **changes}}, "command line").data


def held_out_images(config: GANRunConfig, command: DoctorCommand, train: ImageDataset) -> ImageDataset | None:
    """Return images that were held out of training and lie elsewhere than those; None if there are none.

    Raises:
        UserError: those that the command line names cannot be opened, or have other classes.

    """
    if command.held_out is not None:
        whole = {
            "kind": "folder",
            "path": command.held_out,
            "size": config.data.size,
            "cache_dir": command.cache_dir or config.data.cache_dir,
        }
        dataset = open_dataset(validated(GANRunConfig, {**json.loads(config.model_dump_json()), "data": whole}, "command line").data)
        if config.conditional and dataset.classes != train.classes:
            raise UserError(f"--held-out {command.held_out}: its classes, {dataset.classes}, are not the run's, {train.classes}")
        return dataset
    split = getattr(config.data, "split", None)
    for other in SPLITS.get(str(split), ()):
        try:
            dataset = open_dataset(config_of_data(config, command, split=other))
        except UserError:
            continue
        if not config.conditional or dataset.classes == train.classes:
            return dataset
    return None


def report(run: TrainedRun, found: Sequence[Finding]) -> list[str]:
    """Return the lines that the command prints: the findings, most severe first, and what was fine or not measured."""
    begun = [finding for finding in found if finding.begun]
    lines = [f"{run.checkpoint}: {run.images_seen:,} of {run.config.trainer.total_images:,} images"]
    lines += [f"{finding.severity:5}  {finding.line()}" for finding in begun[:SHOWN]]
    if len(begun) > SHOWN:
        lines.append(f"and {len(begun) - SHOWN} more: {', '.join(finding.rule for finding in begun[SHOWN:])} (--json lists all)")
    fine = [finding.rule for finding in found if finding.severity == "fine"]
    lines.append(f"fine   {', '.join(fine) or 'nothing'}")
    score = f"gconv-gan score {shlex.quote(str(run.checkpoint.parent))} {score_options(run.config.evaluation, None)}"
    lines += [
        f"not measured  {finding.rule}: {finding.sentence.replace(SCORE_BOTH, f'{score}, and again with --generator-weights raw')}"
        for finding in found
        if finding.severity == "not measured"
    ]
    return lines
