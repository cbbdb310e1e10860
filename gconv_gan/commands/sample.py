"""Images of a trained generator: as PNG files in a folder or a zip, and as one grid."""

import hashlib
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from jaxtyping import UInt8
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt
from torch import Tensor, nn
from tqdm import tqdm

from gconv_gan.commands.exported import TENSORS, load_exported
from gconv_gan.commands.sample_files import Layout, SampleFiles, readable
from gconv_gan.commands.score.fakes import generator_source
from gconv_gan.commands.train.networks import load_run
from gconv_gan.config.base import Config
from gconv_gan.config.commands import Checkpoint
from gconv_gan.config.errors import UserError
from gconv_gan.config.hints import did_you_mean, does_not_exist
from gconv_gan.config.load import parse_command
from gconv_gan.gallery.pictures.grid import save_grid
from gconv_gan.layers.weights import channels_last
from gconv_gan.metrics.images.sources import BLOCK, FakeSource, block_range
from gconv_gan.runtime.device import command_device, process_state

NUM = 64
IN_A_GRID = 1024
"""Images that a grid shows at most."""


class SampleCommand(Config):
    """Draw images of a trained generator: PNG files in a folder or a zip, and one grid."""

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN|FOLDER")]
    """A run folder, or the folder that gconv-gan export wrote."""
    num: PositiveInt | None = None
    """How many images: those with the numbers 0 to num - 1; None: 64."""
    seeds: str | None = None
    """Numbers of the images, instead of --num: 0-99, or 3,7,12-20."""
    seed: NonNegativeInt = 0
    """Image i depends on (seed, i) alone, and is image i of the scores with that seed."""
    label: Annotated[str | None, tyro.conf.arg(aliases=("--class",))] = None
    """Only this class, by its name, or by its number where no class has that name; None: classes drawn uniformly."""
    truncation: NonNegativeFloat | None = None
    """Threshold t of z, whose entries follow N(0, 1) truncated to [-t, t]; ψ of a generator with a mapping network (0: the mean w); None:
    not truncated."""
    weights: Literal["ema", "raw"] = "ema"
    """Averaged or last weights of a run's generator."""
    checkpoint: Checkpoint = None
    out: str | None = None
    """New folder, or .zip, of the PNG files; the same command again adds those that are missing. None: no files."""
    layout: Layout | None = None
    """folders: one for each class; dataset_json: flat, with StyleGAN's list of labels; flat: without labels; None: folders, if there are
    classes."""
    grid: str | None = None
    """PNG file of the first 1,024 images in one grid; None: without --out, samples_seed0.png, samples_seed0_class3-cat.png and the like in
    the folder."""


@dataclass(frozen=True)
class Trained:
    """A trained generator with the facts that its samples' files need."""

    generator: nn.Module
    name: str
    classes: tuple[str, ...]
    weights_sha256: str


def main(arguments: Sequence[str]) -> None:
    """Draw the images that the command line names, each process its share, and print where they are."""
    command = parse_command(SampleCommand, arguments)
    numbers = numbers_of(command)
    trained = load_trained(Path(command.source), weights=command.weights, checkpoint=command.checkpoint)
    label = None if command.label is None else class_number(command.label, trained.classes, argument="--label", model=trained.name)
    counts = None if label is None else class_counts(trained.classes, label)
    layout: Layout = command.layout or ("folders" if trained.classes else "flat")
    if layout != "flat" and not trained.classes:
        raise UserError(f"--layout {layout}: {trained.name} is unconditional and has no classes; leave --layout out")
    files = None if command.out is None else SampleFiles(checked_out(command.out), command.seed, layout, trained.classes)
    device = command_device()
    generator = trained.generator.to(device)
    channels_last(generator)
    source = generator_source(
        generator,
        count=numbers[-1] + 1,
        seed=command.seed,
        batch_norm="eval",
        device=device,
        truncation=command.truncation,
        class_counts=counts,
    )
    state = process_state()
    if files is not None:
        _write(files, source, numbers, _settings(command, trained, label, layout))
    if state.is_main_process:
        told = "" if label is None else f" of class '{trained.classes[label]}'" + _numbered(trained.classes, label)
        size = f"{generator.image_size}×{generator.image_size}"
        if files is not None:
            print(f"written to {files.out}: {len(numbers):,} images{told}, {size}")
        if command.grid is not None or files is None:
            shown = numbers[:IN_A_GRID]
            path = Path(command.grid or Path(command.source) / f"samples_seed{command.seed}{_class_part(trained.classes, label)}.png")
            save_grid(_images(source, shown), path, columns=math.ceil(math.sqrt(len(shown))))
            print(f"written to {path}: {len(shown):,} images{told}, {size}")
    state.wait_for_everyone()


def numbers_of(command: SampleCommand) -> list[int]:
    """Return the numbers of the images, in ascending order.

    Raises:
        UserError: both --num and --seeds are given, or --seeds is not a list of numbers and ranges.

    """
    if command.seeds is None:
        return list(range(command.num or NUM))
    if command.num is not None:
        raise UserError("--num counts the images from 0 and --seeds names them: give one of them")
    found: set[int] = set()
    for part in command.seeds.split(","):
        matched = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        if matched is None or int(matched[2] or matched[1]) < int(matched[1]):
            raise UserError(f"--seeds {command.seeds}: {part!r} is neither a number nor a range such as 0-99")
        found.update(range(int(matched[1]), int(matched[2] or matched[1]) + 1))
    return sorted(found)


def checked_out(out: str) -> Path:
    """Return the folder or the zip; raise ``UserError`` for a suffix of something else."""
    path = Path(out)
    if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp"):
        raise UserError(f"--out {out} is a folder or a .zip of PNG files, one for each image: for one picture of all give --grid {out}")
    if path.suffix.lower() in (".tar", ".gz", ".tgz", ".7z", ".rar", ".npz", ".npy", ".pt", ".safetensors", ".onnx"):
        raise UserError(f"--out {out}: samples are written as PNG files into a folder or a .zip, not as {path.suffix}")
    return path


def load_trained(folder: Path, *, weights: Literal["ema", "raw"], checkpoint: Any) -> Trained:
    """Return the generator of a run or of an exported folder, in evaluation mode.

    Raises:
        UserError: there is none, or an exported folder is asked for other weights than those that it holds.

    """
    if not folder.exists():
        raise UserError(does_not_exist(folder))
    if (folder / TENSORS).is_file():
        if weights != "ema" or checkpoint is not None:
            raise UserError(f"{folder} holds averaged weights of one checkpoint: leave --weights and --checkpoint out, or name the run")
        generator, description = load_exported(folder)
        return Trained(generator, description.run.name, description.classes, description.weights_sha256)
    run = load_run(folder, checkpoint=checkpoint)
    file = run.checkpoint / ("ema.safetensors" if weights == "ema" else "generator.safetensors")
    return Trained(run.generator(weights), run.config.name, run.class_names, hashlib.sha256(file.read_bytes()).hexdigest())


def _settings(command: SampleCommand, trained: Trained, label: int | None, layout: Layout) -> dict[str, Any]:
    """Return what the pixels and the names of the files depend on besides their numbers."""
    return {
        "weights_sha256": trained.weights_sha256,
        "seed": command.seed,
        "class": None if label is None else trained.classes[label],
        "truncation": command.truncation,
        "layout": layout,
    }


def _write(files: SampleFiles, source: FakeSource, numbers: list[int], settings: dict[str, Any]) -> None:
    """Write the files that are missing, each process those of its blocks, and finish them on the main process."""
    state = process_state()
    if state.is_main_process:
        files.check(settings)
    with files.alone() if state.is_main_process else nullcontext():
        if state.is_main_process:
            files.prepare(settings)
        state.wait_for_everyone()
        blocks = _blocks(source, numbers)
        mine = blocks[state.process_index :: state.num_processes]
        hidden = None if state.is_main_process else True
        for index, chosen in tqdm(mine, desc="samples", unit=f" × {BLOCK} images", disable=hidden):
            missing = [(number, label) for number, label in _labelled(source, index, chosen) if not files.is_there(number, label)]
            if not missing:
                continue
            images = source.block(index).cpu()
            for number, label in missing:
                files.write(number, label, images[number % BLOCK])
        state.wait_for_everyone()
        if state.is_main_process:
            files.finish(pair for index, chosen in blocks for pair in _labelled(source, index, chosen))


def _blocks(source: FakeSource, numbers: list[int]) -> list[tuple[int, list[int]]]:
    """Return (block, numbers in it) of every block of the source that holds some of ``numbers``."""
    wanted: dict[int, list[int]] = {}
    for number in numbers:
        wanted.setdefault(number // BLOCK, []).append(number)
    assert all(numbers[-1] in block_range(index, len(source)) for index, numbers in wanted.items())
    return list(wanted.items())


def _labelled(source: FakeSource, index: int, numbers: list[int]) -> Iterator[tuple[int, int | None]]:
    """Yield the numbers with the labels of their images."""
    labels = source.block_labels(index)
    for number in numbers:
        yield number, None if labels is None else int(labels[number % BLOCK])


def _images(source: FakeSource, numbers: list[int]) -> UInt8[Tensor, "n 3 h w"]:
    """Return the images with these numbers."""
    return torch.cat([source.block(index).cpu()[[number % BLOCK for number in chosen]] for index, chosen in _blocks(source, numbers)])


def _class_part(classes: Sequence[str], label: int | None) -> str:
    """Return the class as part of a grid's file name."""
    if label is None:
        return ""
    return f"_class{label}" + ("" if classes[label] == str(label) else f"-{readable(classes[label])}")


def _numbered(classes: Sequence[str], label: int) -> str:
    return "" if classes[label] == str(label) else f" (number {label})"


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
    )
    return torch.cat([source.block(index) for index in range(math.ceil(count / BLOCK))])
