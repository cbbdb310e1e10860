"""Images of an exported generator as one PNG grid."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
import tyro
from jaxtyping import UInt8
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn

from gconv_gan.commands.exported import load_exported
from gconv_gan.commands.score.fakes import generator_source
from gconv_gan.config.base import Config
from gconv_gan.config.errors import UserError
from gconv_gan.config.hints import did_you_mean
from gconv_gan.config.load import parse_command
from gconv_gan.gallery.pictures.grid import save_grid
from gconv_gan.metrics.images.sources import BLOCK
from gconv_gan.runtime.device import command_device

BATCH = 32  # the same for all --num, since a convolution may round differently at another batch size


class SampleCommand(Config):
    """Draw images of an exported generator into one PNG grid."""

    folder: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """The folder that python -m gconv_gan.export wrote."""
    num: PositiveInt = 64
    """How many images."""
    seed: NonNegativeInt = 0
    """Image i depends on (seed, i) alone, and is image i of the scores with that seed."""
    label: Annotated[str | None, tyro.conf.arg(name="class")] = None
    """Only this class, by its name, or by its number where no class has that name; None: classes drawn uniformly."""
    out: str | None = None
    """The PNG file; None: samples_seed0.png, samples_seed0_class3-cat.png and the like in the folder."""


def main(arguments: Sequence[str]) -> None:
    """Draw the images that the command line names and print the path of the grid."""
    command = parse_command(SampleCommand, arguments)
    generator, description = load_exported(Path(command.folder))
    classes, label = description.classes, None
    if command.label is not None:
        label = class_number(command.label, classes, argument="--class", model=description.run.name)
    counts = None if label is None else class_counts(classes, label)
    images = sample(generator.to(command_device()), count=command.num, seed=command.seed, counts=counts).cpu()
    file, told = "", ""
    if label is not None:
        name = classes[label]
        readable = "".join(c if c.isalnum() or c in "._-" else "_" for c in name)
        file = f"_class{label}" + ("" if name == str(label) else f"-{readable}")
        told = f" of class '{name}'" + ("" if name == str(label) else f" (number {label})")
    path = Path(command.out or Path(command.folder) / f"samples_seed{command.seed}{file}.png")
    save_grid(images, path, columns=math.ceil(math.sqrt(len(images))))
    print(f"written to {path}: {len(images)} images{told}, {description.image_size}×{description.image_size}")


def class_number(label: int | str, classes: Sequence[str], *, argument: str, model: str) -> int:
    """Return the number of the class named ``label``, else of the class with that number.

    ``argument`` and ``model`` name the label's argument and the generator in messages.

    Raises:
        UserError: the generator has no such class.

    """
    if not classes:
        raise UserError(f"{argument} {label}: {model} is unconditional and has no classes; leave {argument} out")
    if label in classes:  # folders "0" … "11" are sorted as text: class "2" is not number 2
        return classes.index(str(label))
    text = str(label)
    if text.isdecimal() and int(text) < len(classes):
        return int(text)
    known = f"the classes are 0 to {len(classes) - 1} ({', '.join(classes[:10])})"
    raise UserError(f"{argument} {text}: {known}{did_you_mean(text, classes)}")


def class_counts(classes: Sequence[str], label: int) -> list[int]:
    """Return class frequencies with which ``label`` alone is drawn."""
    return [int(index == label) for index in range(len(classes))]


def sample(
    generator: nn.Module, *, count: int, seed: int, counts: Sequence[int] | None = None, truncation: float | None = None
) -> UInt8[Tensor, "n 3 h w"]:
    """Return ``count`` images as bytes, image i a function of (seed, i): the latents of the scores and, where uniform, their labels.

    ``truncation`` is as in ``generator_source``.
    """
    device = next(generator.parameters()).device
    source = generator_source(
        generator,
        count=count,
        seed=seed,
        batch_norm="eval",
        device=device,
        truncation=truncation,
        class_counts=counts,
        batch_size=BATCH,
    )
    return torch.cat([source.block(index) for index in range(math.ceil(count / BLOCK))])
