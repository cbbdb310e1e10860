"""The input of a gallery: a generator, the facts of its run, and the records of the run."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from gconv_gan.data.reading.decoded_images import DecodedImages
from gconv_gan.gallery.latents import Sheet, numbered_sheet
from gconv_gan.gallery.page.score_names import Direction
from gconv_gan.gallery.pictures.drawing import Drawing, Sample
from gconv_gan.gallery.pictures.grid import as_bytes
from gconv_gan.gallery.score import Score
from gconv_gan.models.gan.mapping import MappedGenerator
from gconv_gan.runtime.modes import evaluating
from gconv_gan.runtime.precision import float32_arithmetic
from gconv_gan.sampling.generator import Sampler, device_of, in_batches, whole_batches

SAMPLE_BATCH = 64  # constant: at another batch size a convolution may round differently, which changes a picture by a grey level


@dataclass(frozen=True)
class RunFacts:
    """Facts about the run that the page shows."""

    name: str
    """Name of the run."""
    dataset: str
    """Name of the data set."""
    images_seen: int
    """Real images that the discriminator had seen at this checkpoint."""
    checkpoint: str
    """Name of the checkpoint."""
    checkpoint_sha256: str
    """SHA-256 of the generator's weights file."""
    sample_command: str
    """The command line that draws images of these weights, without the options that say which."""
    weights: Literal["ema", "raw"] = "ema"
    """Whether the weights are the running average or those of the last step."""
    class_names: tuple[str, ...] = ()
    """One name per class; empty for an unconditional generator or nameless classes."""
    class_folders: tuple[str, ...] = ()
    """The names of the classes on the command line, where they are others than ``class_names``."""
    details: Mapping[str, str] = field(default_factory=dict)
    """Further rows of the page's table of facts: parameters, seed, command, ..."""
    best_name: str | None = None
    """Protocol and key of the run's best score, "fid2k/fid"; None: it has no score."""
    best_score: float | None = None
    """Its value."""
    best_direction: Direction | None = None
    """Which way that score is better; None: it has none, or not known."""
    date: str = ""
    """Day and minute at which the checkpoint was written; empty: unknown."""


@dataclass(frozen=True)
class TrainingImages:
    """The images a run was trained on."""

    images: UInt8[np.ndarray, "n 3 s s"] | DecodedImages
    """In the order of the converted data set."""
    title: str
    """The data set's name."""
    content_hash: str
    """SHA-256 of the converted data."""
    mirrored: bool
    """Whether training used their mirror images too."""


@dataclass(frozen=True)
class FeatureExtractor:
    """A network whose features measure the distance of two images."""

    name: str
    """Name on the command line."""
    features: Callable[[UInt8[Tensor, "b 3 h w"]], Float[Tensor, "b d"]]
    """Function from uint8 images to features on the CPU."""


@dataclass(frozen=True)
class TrainedGenerator:
    """A generator and the records of its run, from which the pictures are drawn.

    Args:
        generator: called as ``generator(z, y)`` with attributes latent_dim, num_classes, image_size.
        run: the facts.
        records: the run's metrics, one mapping per line of metrics.jsonl, oldest first.
        lower_is_better: keys of all known scores for which lower is better.
        scores: of the run's score files.
        timeline: (images seen, PNG grid written by ``save_grid``) of the same latents during training.
        reals: PNG grid of training images, written by ``save_grid``; None if the run has none.
        discriminator: called as ``discriminator(images, y)``; None if the run has none.
        training: the training images; None if they are absent.
        extractor: for nearest neighbours in features; None: in pixels only.
        methods: the pictures that training methods left in the run folder.
        curvature: the densities of the players' eigenvalues that were measured on the run.

    """

    generator: nn.Module
    run: RunFacts
    lower_is_better: frozenset[str]
    records: tuple[Mapping[str, object], ...] = ()
    scores: tuple[Score, ...] = ()
    timeline: tuple[tuple[int, Path], ...] = ()
    reals: Path | None = None
    discriminator: nn.Module | None = None
    training: TrainingImages | None = None
    extractor: FeatureExtractor | None = None
    methods: tuple[Drawing, ...] = ()
    curvature: tuple[Drawing, ...] = ()

    @property
    def latent_dim(self) -> int:
        """Return the length of z."""
        return int(self.generator.latent_dim)  # type: ignore[arg-type]

    @property
    def num_classes(self) -> int | None:
        """Return the number of classes; None for an unconditional generator."""
        return None if self.generator.num_classes is None else int(self.generator.num_classes)  # type: ignore[arg-type]

    @property
    def image_size(self) -> int:
        """Return the side of an image in pixels."""
        return int(self.generator.image_size)  # type: ignore[arg-type]

    def class_name(self, index: int) -> str:
        """Return the name of a class, or its number if the run has no names."""
        return self.run.class_names[index] if self.run.class_names else str(index)

    def numbered(self, seed: int, count: int, *, label: int | None = None, threshold: float | None = None) -> Sheet:
        """Return the latents and classes of the images numbered 0 to count - 1; see ``numbered_sheet``."""
        return numbered_sheet(seed, count=count, latent_dim=self.latent_dim, num_classes=self.num_classes, label=label, threshold=threshold)

    def numbered_images(self, seed: int, count: int, *, psi: float | None = None) -> Float[Tensor, "n 3 h w"]:
        """Return the images numbered 0 to count - 1 on the CPU, computed as ``gconv-gan sample`` does.

        Args:
            seed: of the numbers.
            count: how many.
            psi: truncation of w, with a mapping network; None: not truncated.

        """
        generator = self.generator
        if psi is not None:
            assert isinstance(generator, MappedGenerator)
            generator = generator.truncated(psi)
        return in_whole_batches(generator, self.numbered(seed, count))

    def rows(self, sheets: Sequence[Sheet]) -> Float[Tensor, "r n 3 h w"]:
        """Return the images of sheets of equal length, such as a row per class: those of ``numbered_images``, but in common batches."""
        z, y = torch.cat([sheet.z for sheet in sheets]), [sheet.y for sheet in sheets if sheet.y is not None]
        images = in_whole_batches(self.generator, Sheet(z, torch.cat(y) if y else None))
        return images.view(len(sheets), -1, *images.shape[1:])

    def samples(self, seed: int, count: int, *, label: int | None = None, truncation: float | None = None) -> tuple[Sample, ...]:
        """Return the class of each of the images numbered 0 to count - 1, and the command that writes it as a file."""
        options, out = "", ""
        if label is not None:
            name = self.run.class_folders[label] if self.run.class_folders else self.class_name(label)
            options, out = f" --label {shlex.quote(name)}", f"-class{label}"
        if truncation is not None:
            options, out = f"{options} --truncation {truncation:g}", f"{out}-truncation{truncation:g}"
        y = self.numbered(seed, count, label=label).y
        names = [""] * count if y is None else [self.class_name(int(index)) for index in y]
        start = f"{self.run.sample_command} --seed {seed}"
        return tuple(
            Sample(seed, number, name, truncation, f"{start} --seeds {number}{options} --out seed{seed}-{number}{out}")
            for number, name in enumerate(names)
        )

    def generate(self, sheet: Sheet) -> UInt8[Tensor, "n 3 h w"]:
        """Return the images of a sheet as bytes, generated in evaluation mode on the generator's device."""
        return generate(self.generator, sheet.z, sheet.y)


def in_whole_batches(generator: nn.Module, sheet: Sheet) -> Float[Tensor, "n 3 h w"]:
    """Return the images of a sheet on the CPU, in whole batches of the size of ``gconv-gan sample``, the last filled with its first rows.

    In a batch of another size a convolution may round differently; what else is in the batch does not change an image.
    """
    sampler = Sampler(generator)
    rows = torch.arange(whole_batches(len(sheet.z), sampler.batch_size)).remainder(len(sheet.z))
    images: Tensor = sampler(sheet.z[rows], None if sheet.y is None else sheet.y[rows])[: len(sheet.z)].cpu()
    return images


@torch.no_grad()
def run_in_batches(network: nn.Module, x: Float[Tensor, "n ..."], y: Int[Tensor, " n"] | None) -> Float[Tensor, "n ..."]:
    """Return ``network(x, y)`` of latents or images, on the CPU, operation by operation, so that hooks of its modules see every batch."""
    device = device_of(network)
    with evaluating(network), float32_arithmetic(device):
        return in_batches(network, x, y, batch_size=SAMPLE_BATCH, device=device).cpu()


def generate(generator: nn.Module, z: Float[Tensor, "n d"], y: Int[Tensor, " n"] | None) -> UInt8[Tensor, "n 3 h w"]:
    """Return the images of latents and classes as bytes, on the CPU."""
    return as_bytes(Sampler(generator, batch_size=SAMPLE_BATCH)(z, y)).cpu()
