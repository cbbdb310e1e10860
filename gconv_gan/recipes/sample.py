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

from gconv_gan.config.base import Config
from gconv_gan.config.errors import UserError
from gconv_gan.config.hints import did_you_mean
from gconv_gan.config.load import parse_command
from gconv_gan.gallery.grid import save_grid
from gconv_gan.metrics.sources import BLOCK, FakeSource
from gconv_gan.recipes.exported import ExportedGenerator, load_exported

BATCH = 32  # the same for any --num: a convolution may round differently at another batch size


class SampleCommand(Config):
    """Draw images of an exported generator into one PNG grid."""

    folder: Annotated[str, tyro.conf.Positional]
    """The folder that python -m gconv_gan.export wrote."""
    num: PositiveInt = 64
    """How many images."""
    seed: NonNegativeInt = 0
    """Image i depends on (seed, i) alone, and is image i of the scores with that seed."""
    label: Annotated[str | None, tyro.conf.arg(name="class")] = None
    """Only this class, by its number or its name; None: classes drawn uniformly."""
    out: str | None = None
    """The PNG file; None: samples_seed0.png and the like in the folder."""


def main(arguments: Sequence[str]) -> None:
    """Draw what the command line asks for and say where it is."""
    command = parse_command(SampleCommand, arguments)
    generator, description = load_exported(Path(command.folder))
    label = class_number(description, command.label)
    counts = None if label is None else class_counts(description, label)
    images = sample(generator, count=command.num, seed=command.seed, counts=counts)
    chosen = "" if label is None else f"_class{label}"
    path = Path(command.out or Path(command.folder) / f"samples_seed{command.seed}{chosen}.png")
    save_grid(images, path, columns=math.ceil(math.sqrt(len(images))))
    print(f"written to {path}: {len(images)} images of {description.image_size}×{description.image_size}")


def class_number(description: ExportedGenerator, label: str | None) -> int | None:
    """Return the number of the class that ``label`` is the number or the name of; refuse a class that the generator lacks."""
    if label is None:
        return None
    if description.num_classes is None:
        raise UserError(f"--class {label}: {description.run.name} is unconditional, it knows no classes; leave --class out")
    if label in description.classes and not label.isdecimal():
        return description.classes.index(label)
    if label.isdecimal() and int(label) < description.num_classes:
        return int(label)
    known = f"the classes are 0 to {description.num_classes - 1} ({', '.join(description.classes[:10])})"
    raise UserError(f"--class {label}: {known}{did_you_mean(label, description.classes)}")


def class_counts(description: ExportedGenerator, label: int) -> list[int]:
    """Return class frequencies that draw ``label`` alone."""
    return [int(index == label) for index in range(len(description.classes))]


def sample(generator: nn.Module, *, count: int, seed: int, counts: Sequence[int] | None = None) -> UInt8[Tensor, "n 3 h w"]:
    """Return ``count`` images as bytes, image i a function of (seed, i): the latents of the scores and, where uniform, their labels."""
    source = FakeSource(generator, count=count, seed=seed, class_counts=counts, batch_size=BATCH)
    return torch.cat([source.block(index) for index in range(math.ceil(count / BLOCK))])
