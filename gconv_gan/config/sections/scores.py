"""The command lines of ``gconv-gan score`` and its companions."""

from typing import Annotated, Literal

import tyro
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from gconv_gan.config.base import Config, SampleCount
from gconv_gan.config.commands import Checkpoint, JsonFile, RunFolder
from gconv_gan.config.schema import Choice


class ScoreOptions(Config):
    """Options of scores: reference, protocol, extractor, generator settings."""

    reference: str | None = None
    """A data set (cifar10, celeba:PATH), pictures in a folder, zip or tar, statistics (cached, .pt, .npz); None: a run's training data."""
    reference_split: str | None = None
    """Split of the reference, such as train or test; a top-level sub-folder of pictures in files; None: the protocol's."""
    protocol: tuple[str, ...] | None = None
    """Named protocols, all scored from one pass over the images; None: the usual one of the extractor."""
    metrics: tuple[Annotated[str, Choice("METRICS", name_only=True)], ...] | None = None
    """Metrics to compute; None: those of the protocol."""
    extractor: tuple[str, ...] | None = None
    """inception, efficientnet_lite0, dinov2, clip (and their variants) or checkpoint:PATH, each with every protocol; None: its own."""
    weights: str | None = None
    """File of Inception, DINOv2 or CLIP weights; None: its default path."""
    download: tyro.conf.FlagConversionOff[bool] = False
    """Download published weights that are missing, as data are: resumed, compared with their SHA-256."""
    num_fake: SampleCount | None = None
    """Generated images; None: the protocol's number."""
    num_real: SampleCount | None = None
    """Real images, chosen by the seed; None: the protocol's number. For another tool's statistics: their number of images."""
    generator_weights: Literal["ema", "raw"] = "ema"
    """Averaged or last weights of a run's generator."""
    batch_norm: Literal["eval", "standing", "batch"] = "eval"
    """The generator's BatchNorm: running statistics, statistics re-estimated over 16 batches of 64, or those of each batch of 64."""
    truncation: PositiveFloat | None = None
    """Threshold t of z, whose entries follow N(0, 1) truncated to [-t, t]; ψ of a generator with a mapping network; None: not truncated."""
    labels: Literal["uniform", "empirical"] = "uniform"
    """Distribution of the labels of a conditional generator: uniform, or that of its training data."""
    seed: NonNegativeInt = 0
    """Seed of the latents, the labels and the choice of images."""
    batch_size: Annotated[int, Field(ge=1, le=256)] | None = None
    """Images per pass of the extractor, which affects scores by rounding only; None: 16 on a CPU, else 64."""
    cache_dir: str = "cache"
    """Folder of reference statistics and converted data."""


class ScoreCommand(ScoreOptions):
    """Score a run, or a folder, zip or tar of images, against real images."""

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """A run folder, or images in a folder, zip or tar."""
    size: PositiveInt | None = None
    """Side to which pictures in files, scored and reference, are cropped and resized (antialiased); None: as stored, of one square size."""
    checkpoint: Checkpoint = None
    json_out: JsonFile = None
    """Write scores and card to this file: one object, or a list of them where several are computed."""


class CurveCommand(ScoreOptions):
    """Score every checkpoint of a run, and mark the best."""

    run: RunFolder
    by: str | None = None
    """The score that determines the best checkpoint, such as fid or is_mean; None: the first of the protocol."""
    json_out: JsonFile = None
    """Write all scores and cards to this file, as a list in the order of training."""


class CompareCommand(Config):
    """Print scores side by side, if their cards are comparable."""

    sources: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="A B [C ...]")]
    """Run folders, or files that score --json wrote; changes are against the first."""
    protocol: str | None = None
    """Only scores under this protocol; None: every one that all sources have."""
    checkpoint: Checkpoint = None
    mark: bool = False
    """Also print scores that are not comparable, marked, with the fields that differ."""


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
    """File of Inception, DINOv2 or CLIP weights; None: its default path."""
    download: tyro.conf.FlagConversionOff[bool] = False
    """Download published weights that are missing, as data are: resumed, compared with their SHA-256."""
    num_real: SampleCount | None = None
    """Images, chosen by the seed; None: all."""
    seed: NonNegativeInt = 0
    """Seed of the choice of images."""
    batch_size: Annotated[int, Field(ge=1, le=256)] | None = None
    """Images per pass of the extractor; None: 16 on a CPU, else 64."""
    cache_dir: str = "cache"
    """Folder of statistics and converted data."""
    export: Literal["torch_fidelity", "clean_fid"] | None = None
    """Write the statistics as this tool's files."""
    name: str = "gconv_gan"
    """Name of the statistics in that tool."""
    out: str = "."
    """Folder of those files: torch-fidelity's cache_root, or stats/ in the package of clean-fid."""
