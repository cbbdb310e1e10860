"""A classifier run from its config; what it leaves is an extractor for GAN scores, ``checkpoint:RUN``."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import save_file

from gconv_gan.config.classifiers import ClassifierRunConfig
from gconv_gan.config.errors import UserError
from gconv_gan.config.load import load_config
from gconv_gan.data.cache import open_dataset
from gconv_gan.data.datasets import require_labels
from gconv_gan.data.loaders import BatchSource
from gconv_gan.models.digits_classifier import DigitsClassifier
from gconv_gan.optim.factory import build_optimizer
from gconv_gan.runtime.atomic import write_text
from gconv_gan.runtime.run_folder import RunFolder
from gconv_gan.runtime.seeding import stream_seed
from gconv_gan.runtime.tracking import JsonLinesTracker
from gconv_gan.training.classifier import accuracy, train_classifier
from gconv_gan.training.report import Report

USAGE = "usage: accelerate launch train_classifier.py CONFIG.toml [--key value …]; CONFIG --help lists the keys"


def main(arguments: Sequence[str]) -> None:
    """Train the classifier that ``CONFIG.toml [overrides]`` describes."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        if not arguments:
            raise UserError("no config file was given")
        return
    fit(load_config(ClassifierRunConfig, arguments[0], arguments[1:]))


def fit(config: ClassifierRunConfig) -> float:
    """Train and save; return the accuracy on ``config.test_data``.

    ``runs_dir/name`` then holds ``model.safetensors`` and ``model.json`` (network, its arguments, classes, accuracy).
    """
    folder = RunFolder(Path(config.runs_dir) / config.name)
    accelerator = Accelerator(log_with=[JsonLinesTracker(folder.metrics)], project_dir=folder.path)
    dataset, test = (open_dataset(data, progress=accelerator.is_main_process) for data in (config.data, config.test_data))
    require_labels(dataset)
    if test.classes != dataset.classes:
        raise UserError(f"test_data has the classes {test.classes}, but data has {dataset.classes}")
    if accelerator.is_main_process:
        folder.prepare(config)
        folder.metrics.unlink(missing_ok=True)
    accelerator.wait_for_everyone()
    accelerator.init_trackers("classifier")
    arguments = {"num_classes": len(dataset.classes), "image_size": config.data.size, "width": config.network.width}
    with torch.random.fork_rng():
        torch.manual_seed(stream_seed(config.seed, "networks", 0))
        network = DigitsClassifier(**arguments).to(accelerator.device)
    data = BatchSource(
        dataset,
        seed=config.seed,
        flip=config.data.flip,
        batch_size=config.trainer.batch_size,
        process_index=accelerator.process_index,
        num_processes=accelerator.num_processes,
        device=accelerator.device,
    )
    report = Report(accelerator, folder.path / "log.txt", total_images=config.trainer.total_images)
    train_classifier(
        network,
        build_optimizer(config.optimizer, network.parameters()),
        data,
        accelerator,
        report,
        total_images=config.trainer.total_images,
        log_every=config.trainer.log_every,
    )
    reached = accuracy(network, test)
    report.say(f"accuracy on {len(test)} held-out images: {reached:.4f}")
    if accelerator.is_main_process:
        save_file(network.state_dict(), folder.path / "model.safetensors")
        model = {"network": config.network.kind, "arguments": arguments, "classes": list(dataset.classes), "accuracy": reached}
        write_text(folder.path / "model.json", json.dumps(model, indent=2) + "\n")
    accelerator.end_training()
    return reached
