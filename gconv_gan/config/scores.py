"""The command lines of ``eval/gan_metrics.py`` and its companions."""

from typing import Annotated, Literal

import tyro
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from gconv_gan.config.base import Config, SampleCount
from gconv_gan.config.commands import Checkpoint, JsonFile, RunFolder
from gconv_gan.config.schema import Choice


class ScoreOptions(Config):
    """What to compare with, and how."""

    reference: str | None = None
    """A data set (cifar10, celeba:PATH), pictures in a folder, zip or tar, statistics (cached, .pt, .npz); None: a run's training data."""
    reference_split: str | None = None
    """Split of the reference, such as train or test; a top-level sub-folder of pictures in files; None: the protocol's."""
    protocol: tuple[str, ...] | None = None
    """Named protocols, all scored from one pass over the images; None: the usual one of the extractor."""
    metrics: tuple[Annotated[str, Choice("METRICS", name_only=True)], ...] | None = None
    """Which scores; None: those of the protocol."""
    extractor: tuple[str, ...] | None = None
    """inception, efficientnet_lite0, dinov2, clip (and their variants) or checkpoint:PATH, each with every protocol; None: its own."""
    weights: str | None = None
    """File of Inception, DINOv2 or CLIP weights; None: its usual place."""
    num_fake: SampleCount | None = None
    """Generated images; None: as the protocol says."""
    num_real: SampleCount | None = None
    """Real images, chosen by the seed; None: as the protocol says. Of another tool's statistics: how many they are of."""
    generator_weights: Literal["ema", "raw"] = "ema"
    """Averaged or last weights of a run's generator."""
    batch_norm: Literal["eval", "standing", "batch"] = "eval"
    """The generator's BatchNorm: running statistics, statistics re-estimated over 16 batches of 64, or those of each batch of 64."""
    truncation: PositiveFloat | None = None
    """Threshold beyond which entries of z are drawn anew, or ψ of a generator behind a mapping network; None: not truncated."""
    labels: Literal["uniform", "empirical"] = "uniform"
    """Classes asked of a conditional generator: all equally often, or as often as in its training data."""
    seed: NonNegativeInt = 0
    """Seed of the latents, the labels and the choice of images."""
    batch_size: Annotated[int, Field(ge=1, le=256)] | None = None
    """Images per pass of the extractor, which changes no score beyond rounding; None: 16 on a CPU, else 64."""
    cache_dir: str = "cache"
    """Where reference statistics and converted data are kept."""


class ScoreCommand(ScoreOptions):
    """Score a run, or a folder, zip or tar of images, against real images."""

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """A run folder, or images in a folder, zip or tar."""
    size: PositiveInt | None = None
    """Bring pictures in files, scored and reference, to this side: centre crop, antialiased resize; None: as stored, of one square size."""
    checkpoint: Checkpoint = None
    json_out: JsonFile = None
    """Write scores and card to this file: one object, or a list of them where several are computed."""


class CurveCommand(ScoreOptions):
    """Score every checkpoint of a run, and keep the best."""

    run: RunFolder
    by: str | None = None
    """The score that decides which checkpoint is best, such as fid or is_mean; None: the first of the protocol."""
    json_out: JsonFile = None
    """Write all scores and cards to this file, as a list in the order of training."""


class CompareCommand(Config):
    """Print scores side by side, where their cards allow it."""

    sources: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE SOURCE [SOURCE ...]")]
    """Files that gan_metrics wrote with --json, or run folders; changes are against the first."""
    protocol: str | None = None
    """Only scores under this protocol; None: every one that all sources have."""
    checkpoint: Checkpoint = None
    mark: bool = False
    """Print scores that may not be compared too, marked, with the fields that differ."""


class StatisticsCommand(Config):
    """Compute the statistics of real images for an extractor, keep them in the cache, and write them for another tool."""

    reference: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="REFERENCE")]
    """A data set (cifar10, or celeba:PATH), images in a folder, zip or tar, or statistics (cached, .pt or .npz)."""
    split: str | None = None
    """Split of the data set, such as train or test; a top-level sub-folder of pictures in files."""
    size: PositiveInt | None = None
    """Side of the images: pictures in files are cropped and resized to it; None: a data set's usual one, pictures in files as stored."""
    extractor: str = "inception"
    """inception, efficientnet_lite0, dinov2, clip (and their variants) or checkpoint:PATH."""
    weights: str | None = None
    """File of Inception, DINOv2 or CLIP weights; None: its usual place."""
    num_real: SampleCount | None = None
    """Images, chosen by the seed; None: all."""
    seed: NonNegativeInt = 0
    """Seed of the choice of images."""
    batch_size: Annotated[int, Field(ge=1, le=256)] | None = None
    """Images per pass of the extractor; None: 16 on a CPU, else 64."""
    cache_dir: str = "cache"
    """Where statistics and converted data are kept."""
    export: Literal["torch_fidelity", "clean_fid"] | None = None
    """Write the statistics as this tool's files."""
    name: str = "gconv_gan"
    """What that tool calls them."""
    out: str = "."
    """Folder of those files: torch-fidelity's cache_root, or stats/ in the package of clean-fid."""
