"""Comparison of runs: pictures of the same latents side by side on one page, with scores, curves and facts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro
from pydantic import Field, NonNegativeInt

from gconv_gan.commands.gallery import trained_generator
from gconv_gan.commands.gallery_facts import CONVOLUTION
from gconv_gan.commands.train.networks import load_run
from gconv_gan.config.base import Config
from gconv_gan.config.commands import Checkpoint
from gconv_gan.config.errors import UserError
from gconv_gan.config.load import parse_command
from gconv_gan.gallery.page.comparison_page import build_comparison, require_same_latents
from gconv_gan.gallery.page.own_files import require_own_page
from gconv_gan.gallery.pictures.headed_grids import HeadedGrid, headed_grids
from gconv_gan.gallery.pictures.registry import draw_unconditional
from gconv_gan.gallery.trained_generator import TrainedGenerator
from gconv_gan.runtime.files.atomic import require_possible_folder, write_bytes


class CompareGalleriesCommand(Config):
    """Draw runs side by side."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN RUN [RUN ...]")] = Field(min_length=2)
    """The run folders, in the order of the columns."""
    out: str | None = None
    """Folder of the page; None: comparisons/OTHERS in the folder of the first run."""
    checkpoint: Checkpoint = None
    seed: NonNegativeInt = 0
    """Seed of all latents and labels."""
    cache_dir: str | None = None
    """Folder of converted data; None: that of each run's config."""
    picture: str | None = None
    """Write the first 64 samples of every run to this PNG file, as one picture with headings, and draw no page."""


def main(arguments: Sequence[str]) -> None:
    """Draw the page that the command line names and print its path."""
    command = parse_command(CompareGalleriesCommand, arguments)
    folders = [Path(run) for run in command.runs]
    runs = [load_run(folder, checkpoint=command.checkpoint) for folder in folders]
    if command.picture is not None and not command.picture.endswith(".png"):
        raise UserError(f"--picture {command.picture}: the picture is a PNG: name a file that ends in .png")
    others = "-".join(run.config.name for run in runs[1:])
    out = Path(command.out) if command.out else folders[0] / "comparisons" / others
    if command.picture is None:
        require_possible_folder(out, "--out")
        require_own_page(out)
    else:
        require_possible_folder(Path(command.picture).parent, "--picture")
    generators = [trained_generator(run, folder, cache_dir=command.cache_dir) for run, folder in zip(runs, folders, strict=True)]
    if command.picture is None:
        print(f"comparison: {build_comparison(out, generators, seed=command.seed)}")
    else:
        print(f"picture: {write_picture(Path(command.picture), generators, seed=command.seed)}")


def write_picture(path: Path, generators: Sequence[TrainedGenerator], *, seed: int) -> Path:
    """Write the samples of the same latents of all runs side by side as one PNG; return its path.

    Raises:
        UserError: the runs differ in latent dimension or classes.

    """
    require_same_latents(generators)
    grids = []
    for trained in generators:
        (drawing,) = draw_unconditional(trained, seed=seed, rows=8, columns=8)
        words = f"{trained.run.details[CONVOLUTION]}; {trained.run.images_seen:,} images"
        grids.append(HeadedGrid(trained.run.name, words, drawing.content))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, headed_grids(grids))
    return path
