"""A classifier run from its config: data, network, loop. The trained classifier also serves as extractor ``checkpoint:RUN`` of scores."""

import json
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from gconv_gan.commands.train.accelerator import build_accelerator
from gconv_gan.commands.train.classifier_checks import CheckedClassifier, check
from gconv_gan.commands.train.dry_run.classifier_plan import plan
from gconv_gan.commands.train.forms import Setting, measured_forms
from gconv_gan.commands.train.layouts import Example, chosen_layouts
from gconv_gan.commands.train.next_steps import next_steps
from gconv_gan.commands.train.prepared import Prepared
from gconv_gan.commands.train.training_command import training_command
from gconv_gan.config.errors import reworded
from gconv_gan.config.sections.classifiers import ClassifierRunConfig
from gconv_gan.config.sections.data import in_section
from gconv_gan.data.batches.held_out import HeldOut
from gconv_gan.data.cache import open_dataset
from gconv_gan.data.image_dataset import ImageDataset
from gconv_gan.layers.forms import choose_forms
from gconv_gan.layers.weights import channels_last
from gconv_gan.methods.method import Layout, PlayerName
from gconv_gan.metrics.extractors.trained_classifier import DESCRIPTION, TENSORS, built, with_changes
from gconv_gan.models.changes import read_records, records_of
from gconv_gan.runtime.files.atomic import write_text
from gconv_gan.runtime.run_folder import RunFolder
from gconv_gan.runtime.tensors import save_tensors
from gconv_gan.training.checkpoint import STATE, load_network
from gconv_gan.training.loop import Run, train
from gconv_gan.training.supervised import Supervised, held_out_scores

log = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> None:
    """Train the classifier that ``CONFIG.toml [overrides] [--dry-run]`` describes; the same command again resumes."""
    training_command(arguments, ClassifierRunConfig, plan=plan, fit=fit)


def fit(config: ClassifierRunConfig) -> dict[str, float]:
    """Train, from the run folder's newest checkpoint if there is one, and save; return the scores on ``config.test_data``.

    ``runs_dir/name`` then holds ``model.safetensors`` and ``model.json``: network, its arguments, classes, scores.

    Raises:
        UserError: the run cannot start, for example because its folder holds another run; no folder is then created.

    """
    accelerator = build_accelerator(config)
    dataset = open_dataset(config.data, progress=accelerator.is_main_process)
    ready = prepared(config, dataset, accelerator)
    with ready.folder(accelerator):
        train(ready.task, ready.run, accelerator)
        scores = ready.save()
        accelerator.end_training()
    if accelerator.is_main_process:
        seen = ready.task.progress.images_seen
        print("\n".join(next_steps(config, ready.run.folder.path, images_seen=seen, num_images=len(dataset))))
    return scores


def prepared(
    config: ClassifierRunConfig, dataset: ImageDataset, accelerator: Accelerator, *, quiet: bool = False
) -> Prepared[Supervised, dict[str, float]]:
    """Return the run that ``config`` describes, checked and built; ``quiet``: without messages on the terminal."""
    with reworded(partial(in_section, "test_data")):
        test = open_dataset(config.test_data, progress=accelerator.is_main_process)
    parts = check(config, accelerator, dataset, test)
    assert parts.data is not None
    assert parts.data.test is not None
    folder, data, tested = parts.folder, parts.data, parts.data.test
    by_validation = len(data.validation) > 0
    task = Supervised(
        config,
        parts.network,
        data=data.training,
        held_out=data.validation if by_validation else tested,
        held_out_name="validation" if by_validation else "test",
        methods=parts.methods,
        layout=measured(config, parts, accelerator),
        device=accelerator.device,
    )
    save = partial(save_model, config, parts.description, task, tested, folder, accelerator, quiet=quiet)
    return Prepared(task, Run(config, folder, parts.facts, quiet=quiet), save, parts.may_change)


def measured(config: ClassifierRunConfig, parts: CheckedClassifier, accelerator: Accelerator) -> Layout:
    """Return the memory layout of the network and set the forms of its layers, as measured on a part of the batch of this process."""
    trainer = config.trainer
    batch = trainer.batch_size // (accelerator.num_processes * trainer.micro_batches)
    images = torch.zeros(batch, 3, config.image_size, config.image_size)
    examples: dict[PlayerName, Callable[[], Example]] = {"classifier": lambda: (parts.network, (images,))}
    cache_dir, say = Path(config.data.cache_dir), partial(log.warning, "%s")
    layouts = chosen_layouts(
        examples,
        {"classifier": [batch, config.image_size, len(parts.description["classes"]), config.network.model_dump(mode="json")]},
        measure=trainer.measure,
        precision=trainer.precision,
        deterministic=trainer.deterministic,
        resumes_from=parts.resumes_from,
        cache_dir=cache_dir,
        accelerator=accelerator,
        say=say,
    )
    setting = Setting(trainer.precision, trainer.deterministic, accelerator)
    forms = measured_forms(
        examples, layouts, setting, measure=trainer.measure, resumes_from=parts.resumes_from, cache_dir=cache_dir, say=say
    )
    choose_forms(parts.network, forms["classifier"])
    return layouts["classifier"]


def save_model(
    config: ClassifierRunConfig,
    description: dict[str, Any],
    task: Supervised,
    test: HeldOut,
    folder: RunFolder,
    accelerator: Accelerator,
    *,
    quiet: bool = False,
) -> dict[str, float]:
    """Test the chosen weights on ``test`` and write them with their description; return the scores."""
    progress, averaged = task.progress, task.player.average is not None
    network, images, records = task.player.tested, progress.images_seen, records_of(task.methods)
    if config.evaluation.select == "best" and progress.best_images is not None:
        images = progress.best_images
        checkpoint = folder.path / f"checkpoint-{images}"
        records = read_records(checkpoint / STATE)
        with torch.random.fork_rng(devices=[]):  # networks are built on the CPU
            network = built(with_changes(description, records), checkpoint / STATE).to(accelerator.device)
        channels_last(network)
        load_network(checkpoint / f"{'ema' if averaged else 'classifier'}.safetensors", network)
    scores = held_out_scores(network, test, accelerator)
    if accelerator.is_main_process:
        if not quiet:
            print(f"accuracy on {len(test)} held-out images: {scores['accuracy']:.4f}")
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
        save_tensors(tensors, folder.path / TENSORS)
        weights = {"weights": "ema" if averaged else "raw", "select": config.evaluation.select, "images_seen": images}
        write_text(folder.path / DESCRIPTION, json.dumps({**with_changes(description, records), **scores, **weights}, indent=2) + "\n")
    accelerator.wait_for_everyone()
    return scores
