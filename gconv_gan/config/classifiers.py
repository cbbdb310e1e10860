"""Config of a classifier run."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from gconv_gan.config.base import Config
from gconv_gan.config.data import DataConfig
from gconv_gan.config.optim import AdamConfig


class DigitsClassifierConfig(Config):
    """Four convolutions and a linear head for images of 8 to 16 px."""

    kind: Literal["digits_classifier"] = "digits_classifier"
    width: PositiveInt = 32
    """Channels of the first two convolutions."""


class ClassifierTrainerConfig(Config):
    """Length and cadence of training, in images."""

    total_images: PositiveInt
    """Length of the run."""
    batch_size: PositiveInt = 64
    """Global batch."""
    log_every: PositiveInt = 12_800
    """Images between status lines."""


class ClassifierRunConfig(Config):
    """A classifier run: data, network, optimiser, length."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name of the run's folder."""
    runs_dir: str = "runs"
    """Folder of all runs."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of every random draw."""
    data: DataConfig
    test_data: DataConfig
    """What the accuracy is measured on."""
    network: DigitsClassifierConfig = DigitsClassifierConfig()
    optimizer: AdamConfig = AdamConfig()
    trainer: ClassifierTrainerConfig
