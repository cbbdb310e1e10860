"""Share of a run's samples that a classifier assigns to the requested class."""

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import NonNegativeInt, PositiveInt

from gconv_gan.commands.train.networks import load_run
from gconv_gan.config.base import Config
from gconv_gan.config.commands import Checkpoint, RunFolder
from gconv_gan.config.errors import UserError
from gconv_gan.config.load import parse_command
from gconv_gan.metrics.classification.class_agreement import class_agreement
from gconv_gan.metrics.extractors.inception import CheckpointExtractor
from gconv_gan.runtime.device import command_device


class ClassAgreementCommand(Config):
    """Measure the share of a run's samples that a classifier of real images assigns to the requested class."""

    run: RunFolder
    classifier: str
    """Folder of a classifier trained on the same classes."""
    checkpoint: Checkpoint = None
    num_fake: PositiveInt = 2_000
    """Samples of the averaged generator, labels uniform over the classes."""
    seed: NonNegativeInt = 0
    """Seed of latents and labels."""


def main(arguments: Sequence[str]) -> None:
    """Print the share of samples assigned to the requested class, for each class and over all."""
    command = parse_command(ClassAgreementCommand, arguments)
    device = command_device()
    run = load_run(command.run, checkpoint=command.checkpoint)
    judge = CheckpointExtractor(Path(command.classifier), device=device)
    if tuple(judge.classes) != run.class_names:
        raise UserError(f"{command.classifier} has the classes {judge.classes}, but {command.run} has {list(run.class_names)}")
    accuracy = json.loads((Path(command.classifier) / "model.json").read_text())["accuracy"]
    result = class_agreement(run.generator().to(device), judge, num_fake=command.num_fake, seed=command.seed)
    print(f"{run.checkpoint}, averaged weights, {result.num_fake} samples, seed {command.seed}, classified by {command.classifier}")
    print(f"accuracy of the classifier on held-out real images: {accuracy:.4f}")
    for name, share in zip(run.class_names, result.per_class, strict=True):
        print(f"  class {name:<12} {share:.3f}")
    print(f"class agreement: {result.share:.4f}")
