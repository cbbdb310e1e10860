"""The command line of a sweep over effective learning rates."""

from typing import Annotated

import tyro
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from gconv_gan.config.commands import ExperimentCommand


class SphereCommand(ExperimentCommand):
    """Train a classifier on the sphere at several effective learning rates and seeds, and tell the regime of each run."""

    config: Annotated[str, tyro.conf.Positional]
    """TOML file of a classifier run with the method sphere; an epoch is trainer.log_every images."""
    effective_learning_rates: tuple[PositiveFloat, ...] = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
    """The effective learning rates, which take the place of the file's."""
    seeds: tuple[NonNegativeInt, ...] = (0, 1, 2)
    """Seeds of every effective learning rate."""
    window: PositiveInt | None = None
    """Number of last epochs from which the regime is told; None: half of them."""
    runs_dir: str = "runs/sphere"
    """Folder of the runs; finished ones are not trained again."""
    results: str = "eval/results"
    """Folder of the results, NAME.json and NAME.png."""
    table: bool = False
    """Train nothing: print the table of the stored result, and draw its picture again."""
