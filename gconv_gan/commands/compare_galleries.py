"""Comparison of runs: pictures of the same latents side by side on one page, with scores, curves and facts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro
from pydantic import Field, NonNegativeInt

from gconv_gan.commands.gallery import trained_generator
from gconv_gan.commands.train.networks import load_run
from gconv_gan.config.base import Config
from gconv_gan.config.commands import Checkpoint
from gconv_gan.config.load import parse_command
from gconv_gan.gallery.page.comparison_page import build_comparison
from gconv_gan.gallery.page.own_files import require_own_page
from gconv_gan.runtime.atomic import require_possible_folder


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


def main(arguments: Sequence[str]) -> None:
    """Draw the page that the command line names and print its path."""
    command = parse_command(CompareGalleriesCommand, arguments)
    folders = [Path(run) for run in command.runs]
    runs = [load_run(folder, checkpoint=command.checkpoint) for folder in folders]
    others = "-".join(run.config.name for run in runs[1:])
    out = Path(command.out) if command.out else folders[0] / "comparisons" / others
    require_possible_folder(out, "--out")
    require_own_page(out)
    generators = [trained_generator(run, folder, cache_dir=command.cache_dir) for run, folder in zip(runs, folders, strict=True)]
    print(f"comparison: {build_comparison(out, generators, seed=command.seed)}")
