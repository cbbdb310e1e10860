"""The arguments that several commands share: each has the same name, form and description everywhere."""

from typing import Annotated, Literal

import tyro
from pydantic import PositiveInt

from gconv_gan.config.base import Config

RunFolder = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN", help="The run folder.")]

CheckpointChoice = int | Literal["best"]
"""A checkpoint by the number of images seen, or the one that the run marks as its best."""

Checkpoint = Annotated[
    CheckpointChoice | None,
    tyro.conf.arg(
        metavar="IMAGES|best",
        help="Checkpoint of the run, by the number of images seen, or best (by its score curve, else by its score during training); "
        "None: the newest whole one.",
    ),
]

JsonFile = Annotated[str | None, tyro.conf.arg(name="json", metavar="FILE")]


class ExperimentCommand(Config):
    """Options of the commands that train the arms of an experiment."""

    images: PositiveInt | None = None
    """Images each run trains on; None: the file's."""
    data_path: str | None = None
    """Path of the data set; None: the file's."""
    cache_dir: str | None = None
    """Folder of converted data; None: the file's."""
    processes: PositiveInt | None = None
    """Processes that share the runs; None: one for each core of a machine without a GPU, else one for each GPU."""
    runs_dir: str
    """Folder of the arms' runs; finished ones are not trained again."""
