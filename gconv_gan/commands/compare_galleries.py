"""Comparison of two runs: pictures of the same latents side by side on one page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro
from pydantic import NonNegativeInt

from gconv_gan.commands.gallery import trained_generator
from gconv_gan.commands.train.networks import load_run
from gconv_gan.config.base import Config
from gconv_gan.config.commands import Checkpoint
from gconv_gan.config.load import parse_command
from gconv_gan.gallery.page.comparison_page import build_comparison
from gconv_gan.gallery.page.own_files import require_own_page
from gconv_gan.runtime.atomic import require_possible_folder


class CompareGalleriesCommand(Config):
    """Draw two runs side by side."""

    first: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FIRST")]
    """The run folder on the left."""
    second: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SECOND")]
    """The run folder on the right."""
    out: str | None = None
    """Folder of the page; None: comparisons/FIRST-SECOND beside the first run."""
    checkpoint: Checkpoint = None
    seed: NonNegativeInt = 0
    """Seed of all latents and labels."""
    cache_dir: str | None = None
    """Folder of converted data; None: that of each run's config."""


def main(arguments: Sequence[str]) -> None:
    """Draw the page that the command line names and print its path."""
    command = parse_command(CompareGalleriesCommand, arguments)
    folders = Path(command.first), Path(command.second)
    first, second = (load_run(folder, checkpoint=command.checkpoint) for folder in folders)
    out = Path(command.out) if command.out else folders[0].resolve().parent / "comparisons" / f"{first.config.name}-{second.config.name}"
    require_possible_folder(out, "--out")
    require_own_page(out)
    sides = (
        trained_generator(first, folders[0], cache_dir=command.cache_dir),
        trained_generator(second, folders[1], cache_dir=command.cache_dir),
    )
    print(f"comparison: {build_comparison(out, sides, seed=command.seed)}")
