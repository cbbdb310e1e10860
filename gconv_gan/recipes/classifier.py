"""A classifier run from its config: data, network, loop; what it leaves is also an extractor for GAN scores, ``checkpoint:RUN``."""

import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from jaxtyping import Int64
from safetensors.torch import save_file
from torch import nn

from gconv_gan.config.classifiers import ClassifierRunConfig
from gconv_gan.config.errors import UserError
from gconv_gan.config.load import load_config
from gconv_gan.data.cache import open_dataset
from gconv_gan.data.class_batches import Augmentation, ClassBatches
from gconv_gan.data.held_out import HeldOut
from gconv_gan.data.image_dataset import ImageDataset
from gconv_gan.data.label_noise import symmetric_noise
from gconv_gan.data.loaders import gather
from gconv_gan.data.subset import stratified
from gconv_gan.metrics.trained_classifier import DESCRIPTION, TENSORS, describe
from gconv_gan.models.factory import build_classifier_network
from gconv_gan.models.standardised import Standardised
from gconv_gan.recipes.accelerator import build_accelerator
from gconv_gan.runtime.atomic import write_text
from gconv_gan.runtime.run_folder import MAY_CHANGE, RunFolder
from gconv_gan.runtime.seeding import stream_seed
from gconv_gan.training.checkpoint import load_network
from gconv_gan.training.classifier import ClassifierTraining, held_out_scores, train_classifier
from gconv_gan.training.state import ClassifierState

# where the test data came from; what they are decides nothing but their own score
TEST_DATA_MAY_CHANGE = tuple(f"test_{key}" for key in MAY_CHANGE if key.startswith("data."))
USAGE = "usage: accelerate launch train_classifier.py CONFIG.toml [--key value …]; CONFIG --help lists the keys"


def main(arguments: Sequence[str]) -> None:
    """Train the classifier that ``CONFIG.toml [overrides]`` describes; the same command again resumes."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        if not arguments:
            raise UserError("no config file was given")
        return
    fit(load_config(ClassifierRunConfig, arguments[0], arguments[1:]))


def fit(config: ClassifierRunConfig) -> dict[str, float]:
    """Train, from the run folder's newest checkpoint if there is one, and save; return the scores on ``config.test_data``.

    ``runs_dir/name`` then holds ``model.safetensors`` and ``model.json``: network, its arguments, classes, scores.

    Raises:
        UserError: the data are not fit for a classifier, or the folder holds another run.

    """
    folder = RunFolder(Path(config.runs_dir) / config.name)
    accelerator = build_accelerator(folder.path, config.trainer)
    dataset, test = (open_dataset(data, progress=accelerator.is_main_process) for data in (config.data, config.test_data))
    require_same_classes(dataset, test)
    split = splits(config, dataset)
    built = build_network(config, dataset, split.training)
    with folder.alone() if accelerator.is_main_process else nullcontext():
        if accelerator.is_main_process:
            folder.prepare(config, may_change=(*MAY_CHANGE, *TEST_DATA_MAY_CHANGE))
        accelerator.wait_for_everyone()
        tested = HeldOut(test, config.image_size)
        by_validation = len(split.validation) > 0
        training = ClassifierTraining(
            config=config,
            network=built.network,
            data=batches(config, dataset, split.training, accelerator),
            held_out=HeldOut(dataset, config.image_size, split.validation) if by_validation else tested,
            held_out_name="validation" if by_validation else "test",
            folder=folder,
            facts={
                "data": dataset.content_hash,
                "data_title": dataset.title,
                "test_data": test.content_hash,
                "classes": list(dataset.classes),
                "image_size": config.image_size,
                "num_processes": accelerator.num_processes,
            },
        )
        state = train_classifier(training, accelerator)
        scores = save_model(config, built, state, tested, folder, accelerator)
    accelerator.end_training()
    return scores


@dataclass(frozen=True)
class Split:
    """Indices of the training set."""

    training: Int64[np.ndarray, " n"]
    validation: Int64[np.ndarray, " m"]


@dataclass(frozen=True)
class Built:
    """A new network and what it takes to build it again."""

    network: nn.Module
    description: dict[str, Any]


def require_same_classes(dataset: ImageDataset, test: ImageDataset) -> None:
    """Raise ``UserError`` unless both sets are labelled with the same two or more classes."""
    if len(dataset.classes) < 2:
        found = f"has the single class '{dataset.classes[0]}'" if dataset.classes else "is unlabelled"
        raise UserError(f"a classifier needs classes, but {dataset.title} {found}: put the pictures of each into a folder of their own")
    if test.classes != dataset.classes:
        raise UserError(f"test_data has the classes {test.classes}, but data has {dataset.classes}")


def splits(config: ClassifierRunConfig, dataset: ImageDataset) -> Split:
    """Return which images are trained on and which choose among checkpoints, both with the class proportions of the whole."""
    assert dataset.labels is not None
    everything = np.arange(len(dataset))
    validation, rest = stratified(dataset.labels, everything, fraction=config.split.validation, seed=config.seed, stream="validation")
    training, _ = stratified(dataset.labels, rest, fraction=config.split.train, seed=config.seed, stream="subset")
    if len(training) == 0:
        raise UserError(f"split.train {config.split.train} of {len(rest)} images leaves none to train on")
    return Split(training, validation)


def batches(
    config: ClassifierRunConfig, dataset: ImageDataset, training: Int64[np.ndarray, " n"], accelerator: Accelerator
) -> ClassBatches:
    """Return the endless training batches of this process, with the label noise the config asks for."""
    assert dataset.labels is not None
    labels = dataset.labels.copy()
    if config.labels.noise:
        labels[training] = symmetric_noise(
            labels[training], fraction=config.labels.noise, num_classes=len(dataset.classes), seed=config.seed
        )
    how = config.augmentation.model_dump(exclude={"crop_size"})
    return ClassBatches(
        dataset,
        augmentation=Augmentation(size=config.image_size, flip=config.data.flip, **how),
        seed=config.seed,
        batch_size=config.trainer.batch_size,
        indices=training,
        labels=labels,
        process_index=accelerator.process_index,
        num_processes=accelerator.num_processes,
        device=accelerator.device,
    )


def build_network(config: ClassifierRunConfig, dataset: ImageDataset, training: Int64[np.ndarray, " n"]) -> Built:
    """Return the network, initialised from the run's seed: equal on every process, without a broadcast."""
    with torch.random.fork_rng():
        torch.manual_seed(stream_seed(config.seed, "networks", 0))
        network = build_classifier_network(config.network, num_classes=len(dataset.classes), image_size=config.image_size)
    description = describe(config.network, image_size=config.image_size, classes=dataset.classes)
    if config.standardise:
        mean, deviation = channel_statistics(dataset, training)
        description["standardise"] = {"mean": mean, "deviation": deviation}
        network = Standardised(network, mean=mean, deviation=deviation)
    return Built(network, description)


def channel_statistics(dataset: ImageDataset, training: Int64[np.ndarray, " n"]) -> tuple[list[float], list[float]]:
    """Return mean and deviation of each colour channel in [-1, 1], over at most 10,000 training images spread evenly."""
    chosen = training[np.arange(min(len(training), 10_000)) * len(training) // min(len(training), 10_000)]
    sums, squares = np.zeros(3), np.zeros(3)
    for start in range(0, len(chosen), 1000):
        pixels = gather(dataset.images, torch.from_numpy(chosen[start : start + 1000])).numpy().astype(np.float64) / 127.5 - 1
        sums, squares = sums + pixels.sum((0, 2, 3)), squares + (pixels**2).sum((0, 2, 3))
    count = len(chosen) * dataset.manifest.size**2
    mean = sums / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 1e-8))
    return [round(float(x), 6) for x in mean], [round(float(x), 6) for x in deviation]


def save_model(
    config: ClassifierRunConfig, built: Built, state: ClassifierState, test: HeldOut, folder: RunFolder, accelerator: Accelerator
) -> dict[str, float]:
    """Test the chosen weights on ``test`` and write them with their description; return the scores."""
    network, images = state.tested(), state.progress.images_seen
    if config.evaluation.select == "best" and state.progress.best_images is not None:
        images = state.progress.best_images
        load_network(folder.path / f"checkpoint-{images}" / f"{'classifier' if state.ema is None else 'ema'}.safetensors", network)
    scores = held_out_scores(network, test, accelerator)
    if accelerator.is_main_process:
        print(f"accuracy on {len(test)} held-out images: {scores['accuracy']:.4f}")
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
        save_file(tensors, folder.path / TENSORS)
        weights = {"weights": "raw" if state.ema is None else "ema", "select": config.evaluation.select, "images_seen": images}
        write_text(folder.path / DESCRIPTION, json.dumps({**built.description, **scores, **weights}, indent=2) + "\n")
    accelerator.wait_for_everyone()
    return scores
