"""The command line of ``eval/gan_metrics.py``."""

from typing import Annotated, Literal

import tyro
from pydantic import NonNegativeInt, PositiveInt

from gconv_gan.config.base import Config


class ScoreCommand(Config):
    """Score a run, or a folder or zip of images, against real images."""

    source: Annotated[str, tyro.conf.Positional]
    """A run folder, or images in a folder or zip."""
    reference: str | None = None
    """A data set (cifar10, or celeba:PATH), images in a folder or zip, or cached statistics; None: the run's training data."""
    reference_split: str | None = None
    """Split of the reference, such as train or test; a top-level sub-folder of a folder or zip."""
    protocol: str | None = None
    """A named protocol; None: the usual one of the extractor."""
    metrics: tuple[Literal["fid", "is", "kid", "prdc"], ...] | None = None
    """Which scores; None: those of the protocol."""
    extractor: str | None = None
    """inception, efficientnet_lite0 or checkpoint:PATH (and their variants); None: the protocol's, or inception."""
    weights: str | None = None
    """File of Inception weights; None: its usual place."""
    num_fake: PositiveInt | None = None
    """Generated images; None: as the protocol says."""
    num_real: PositiveInt | None = None
    """Real images, chosen by the seed; None: as the protocol says."""
    generator_weights: Literal["ema", "raw"] = "ema"
    """Averaged or last weights of a run's generator."""
    checkpoint: NonNegativeInt | None = None
    """Images seen at the run's checkpoint; None: the newest."""
    batch_norm: Literal["eval", "standing"] = "eval"
    """The generator's BatchNorm: running statistics, or statistics re-estimated over 16 batches of 64."""
    seed: NonNegativeInt = 0
    """Seed of the latents, the labels and the choice of images."""
    batch_size: PositiveInt = 64
    """Images per pass of the extractor; it changes no score beyond rounding."""
    cache_dir: str = "cache"
    """Where reference statistics and converted data are kept."""
    json_out: Annotated[str | None, tyro.conf.arg(name="json")] = None
    """Write scores and card to this file."""
