"""Report on memorisation: are a generator's images nearer to its training images than to images that were held out?"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from jaxtyping import Float, Int, UInt8
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor

from gconv_gan.commands.score.fakes import Fakes, file_fakes, run_fakes
from gconv_gan.commands.score.references import (
    Reals,
    chosen_reals,
    dataset_reals,
    open_files,
    open_reference,
    processes,
    reference_of,
    usual_split,
)
from gconv_gan.commands.score.scores import is_run, require_outlet
from gconv_gan.commands.train.networks import TrainedRun, load_run
from gconv_gan.config.base import Config, SampleCount
from gconv_gan.config.commands import Checkpoint, JsonFile
from gconv_gan.config.errors import UserError
from gconv_gan.config.hints import does_not_exist
from gconv_gan.config.load import parse_command
from gconv_gan.config.sections.data import DataConfig
from gconv_gan.data.batches.subset import without_held_out
from gconv_gan.data.cache import open_dataset
from gconv_gan.gallery.pictures.grid import grid_png
from gconv_gan.metrics.extractors.factory import extractor
from gconv_gan.metrics.extractors.inception import Extractor
from gconv_gan.metrics.images.content_order import ContentOrder
from gconv_gan.metrics.images.extraction import Wanted, extract
from gconv_gan.metrics.images.sources import BLOCK, PartOfImages
from gconv_gan.metrics.memorisation import CALIBRATION_NEIGHBOURS, authenticity, balanced, calibrated_distances, copy_test
from gconv_gan.metrics.neighbours import NearestRows, nearest_rows
from gconv_gan.metrics.protocols import Protocol
from gconv_gan.metrics.references.reference_statistics import ReferenceStatistics
from gconv_gan.metrics.score_card import ExtractorCard, FakesCard, ReferenceCard, extractor_card, library_versions
from gconv_gan.runtime.device import command_device, process_state
from gconv_gan.runtime.files.atomic import require_possible_folder, write_bytes, write_text

FOLDER, PICTURE, REPORT = "memorisation", "nearest.png", "report.json"
PAIRS_PER_ROW = 4
TWIN = 1e-3  # of the median distance
SIGNIFICANT = 0.025  # one-sided
NUM_FAKE = 5_000  # of a generator
PROTOCOL = Protocol(name="memorisation", metrics=("fid",), extractor=None, num_fake=None, split="any")  # chooses the reals
TRAIN_FLAGS = {"path": "--train", "split": "--train-split", "cache_dir": "--cache-dir"}
HELD_OUT_FLAGS = {"path": "--held-out", "split": "--held-out-split", "cache_dir": "--cache-dir"}
CANNOT_SHOW = (
    "copies of training images that were not compared: the share knows those of its own sample alone, the pictures all that were searched",
    "copies that these features do not see, such as mirrored, cropped or recoloured ones, parts of images, and faces",
    "a share of copies below the one named above, and which fakes are copies: look at the pictures",
    "anything if training and held-out images differ in kind: the share then differs from 1/2 without memory; duplicates shared by both "
    "sets hide copies",
    "that a model is private or safe to publish: images can be extracted by attacks that no sample of fakes reveals",
)
"""What the report cannot show, printed and stored with it."""


class MemorisationCommand(Config):
    """Test whether images lie nearer to the training images than to held-out ones, and show the pairs most like copies."""

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """A run folder, or images in a folder, zip or tar."""
    train: str | None = None
    """The training images: a data set (cifar10, celeba:PATH), or pictures in a folder, zip or tar; None: the run's."""
    train_split: str | None = None
    """Their split; None: the one the run was trained on."""
    held_out: str | None = None
    """Images of the same kind that were not trained on; None: those of trainer.held_out, else the held-out split of the run's data."""
    held_out_split: str | None = None
    """Their split; None: test, or val."""
    extractor: str = "inception"
    """inception, efficientnet_lite0, dinov2, clip (and their variants) or checkpoint:PATH."""
    weights: str | None = None
    """File of Inception, DINOv2 or CLIP weights; None: its default path."""
    num_fake: SampleCount | None = None
    """Fakes; None: 5,000 of a run, all pictures in files."""
    num_train: SampleCount | None = None
    """Training images searched, chosen by the seed; None: all."""
    generator_weights: Literal["ema", "raw"] = "ema"
    """Averaged or last weights of a run's generator."""
    checkpoint: Checkpoint = None
    size: PositiveInt | None = None
    """Side to which pictures in files are cropped and resized; None: as stored, of one square size."""
    seed: NonNegativeInt = 0
    """Seed of latents, labels, choices of images and random splits."""
    pairs: PositiveInt = 16
    """Pairs of a fake and its nearest training image that are shown, most like a copy first."""
    batch_size: Annotated[int, Field(ge=1, le=256)] | None = None
    """Images per pass of the extractor; None: 16 on a CPU, else 64."""
    cache_dir: str = "cache"
    """Folder of reference statistics and converted data."""
    out: str | None = None
    """Folder of report and pictures; None: memorisation/ in the run's folder, for pictures in files nothing is written."""
    json_out: JsonFile = None
    """Write the report to this file too."""


class Pair(Config):
    """A fake and the training image nearest to it."""

    fake: int
    """Number of the fake."""
    train: int
    """Number of the training image."""
    distance: float
    calibrated: float
    """The distance over half the mean distance of the fake from its 50 nearest training images."""


class MemorisationReport(Config):
    """The numbers of the report, how they were computed, and what they cannot show."""

    format: Literal[1] = 1
    share: float
    """Share of fakes nearer to a training image than to a held-out one; 0.5 without memory."""
    standard_error: float
    interval: tuple[float, float]
    p_value: float
    excess: float
    detectable: float
    fakes: int
    """Number of fakes."""
    images: int
    """Training images, and as many held-out ones, of the share."""
    by_class: bool
    """Whether they were chosen class by class."""
    authenticity: float
    held_out_authenticity: float
    twins: int
    """Held-out images nearer to a training image than a thousandth of the median of such distances: the same picture, up to rounding."""
    pairs: tuple[Pair, ...]
    source: FakesCard
    train: ReferenceCard
    held_out: ReferenceCard
    extractor: ExtractorCard
    versions: dict[str, str]
    seed: int
    cannot_show: tuple[str, ...] = CANNOT_SHOW

    def lines(self) -> list[str]:
        """Return the report as text."""
        low, high = max(0.0, self.interval[0]), min(1.0, self.interval[1])
        numbers = f"share {self.share:.3f}, 95 % interval {low:.3f} to {high:.3f}, p {self.p_value:.2g}"
        sets = f"{self.fakes:,} fakes, {self.images:,} training and {self.images:,} held-out images"
        lines = [
            f"memorisation: features of {self.extractor.name}, {sets}{', class by class' if self.by_class else ''}",
            f"  nearer to a training image than to a held-out one: {numbers}",
            f"  {self.verdict()}",
            f"  authenticity {self.authenticity:.3f}; that of the held-out images is {self.held_out_authenticity:.3f}",
            "  smallest calibrated distances: " + ", ".join(f"{pair.calibrated:.3g}" for pair in self.pairs[:8]),
        ]
        if self.twins:
            lines.append(f"  ! {self.twins:,} held-out images have a twin among the training images, which hides copies of it")
        return [*lines, "what this cannot show:", *(f"  - {line}" for line in self.cannot_show)]

    def verdict(self) -> str:
        """Return what the share says, in one sentence."""
        if self.p_value <= SIGNIFICANT:
            return f"evidence of copying: about {self.excess:.1%} of the fakes repeat one of these training images"
        if self.interval[1] < 0.5:
            return "the fakes lie nearer to the held-out images: the two sets are not of one kind, so that the share says nothing"
        if self.detectable >= 1:
            return f"undecided: {self.images:,} images of either kind are too few to see any share of copies"
        return f"no evidence of copying; a share of copies below {self.detectable:.1%} would not be seen"


def main(arguments: Sequence[str]) -> None:
    """Print the report on the images that the command line names; write it with the pictures to its folder."""
    command = parse_command(MemorisationCommand, arguments)
    require_outlet(command.json_out)
    out = Path(command.out) if command.out else Path(command.source) / FOLDER if is_run(command.source) else None
    if out is not None:
        require_possible_folder(out, "--out")
    report, picture = memorisation(command)
    if not process_state().is_main_process:
        return
    text = report.model_dump_json(indent=2) + "\n"
    files = [] if command.json_out is None else [Path(command.json_out)]
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_bytes(out / PICTURE, picture)
        files.append(out / REPORT)
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, text)
    lines = report.lines()
    if out is not None:
        lines.append(f"pairs of a fake and its nearest training image, {PAIRS_PER_ROW} to a row, most like a copy first: {out / PICTURE}")
    print("\n".join([*lines, *(f"written to {file}" for file in files)]))


def memorisation(command: MemorisationCommand) -> tuple[MemorisationReport, bytes]:
    """Return the report and its picture, a PNG; every process returns the same.

    Raises:
        UserError: training or held-out images are absent, the same, of another size than the fakes, or too few.

    """
    device = command_device()
    run = load_run(command.source, checkpoint=command.checkpoint) if is_run(command.source) else None
    _require_fitting(command, run)
    network = extractor(command.extractor, weights=Path(command.weights) if command.weights else None, device=device)
    fakes, size = _fakes(command, run)
    opened = _opened(command, run, size)
    if opened[0].images.fingerprint == opened[1].images.fingerprint:
        raise UserError(f"the held-out images are the training images, {opened[0].source}: name others with --held-out")
    train, held_out = (
        _with_features(command, reals, network, count) for reals, count in zip(opened, (command.num_train, None), strict=True)
    )
    wanted = Wanted(network, len(fakes.source), features=True)
    extraction = extract(fakes.source, [wanted], processes=processes(), batch_size=command.batch_size)[0]
    assert extraction.features is not None
    fake, searched, others = (rows.to(device) for rows in (extraction.features, train.features, held_out.features))
    by_class = None if opened[0].classes != opened[1].classes else train.labels_with(held_out)
    choice = balanced(len(searched), len(others), by_class, seed=command.seed)
    test = copy_test(fake, searched[choice.train], others[choice.held_out], strata=choice.strata, seed=command.seed)
    neighbours = nearest_rows(fake, searched, k=min(CALIBRATION_NEIGHBOURS, len(searched)))
    of_others = nearest_rows(others, searched, k=1)
    pairs = _pairs(neighbours, command.pairs)
    report = MemorisationReport(
        **dataclasses.asdict(test),
        interval=test.interval,
        excess=test.excess,
        detectable=test.detectable,
        by_class=by_class is not None,
        authenticity=authenticity(neighbours, searched),
        held_out_authenticity=authenticity(of_others, searched),
        twins=_twins(of_others),
        pairs=pairs,
        source=fakes.card.model_copy(update={"images_sha256": extraction.images_sha256}),
        train=train.statistics.reference,
        held_out=held_out.statistics.reference,
        extractor=extractor_card(network),
        versions=library_versions(),
        seed=command.seed,
    )
    return report, _picture(fakes, train.reals, pairs)


def _fakes(command: MemorisationCommand, run: TrainedRun | None) -> tuple[Fakes, int]:
    """Return the fakes and the side of their images in pixels."""
    if run is None:
        files = open_files(Path(command.source), size=command.size, cache_dir=Path(command.cache_dir))
        return file_fakes(files, command.source, count=command.num_fake, seed=command.seed), files.size
    count = command.num_fake or NUM_FAKE
    weights = command.generator_weights
    fakes = run_fakes(
        run, count=count, seed=command.seed, weights=weights, batch_norm="eval", truncation=None, labels="uniform", rule=run.rule
    )
    return fakes, run.config.data.size


def _opened(command: MemorisationCommand, run: TrainedRun | None, size: int) -> tuple[Reals, Reals]:
    """Return training and held-out images, which are not read yet; raise ``UserError`` if they are absent or of another size."""
    data = None if run is None else run.config.data
    parts = None if run is None or command.train or command.train_split else _parts_of(run, Path(command.cache_dir))
    if parts is not None and command.held_out is None and command.held_out_split is None:
        return parts
    held_out_split = command.held_out_split or (_held_out_split(data) if command.held_out is None and data is not None else None)
    found = []
    for reference, split, flags in (
        (command.train, command.train_split, TRAIN_FLAGS),
        (command.held_out, held_out_split, HELD_OUT_FLAGS),
    ):
        if flags is TRAIN_FLAGS and parts is not None:
            found.append(parts[0])
            continue
        reals = open_reference(
            reference, split=split, trained_on=data, size=size, files_size=command.size, cache_dir=Path(command.cache_dir), flags=flags
        )
        if not isinstance(reals, Reals):
            raise UserError(f"{flags['path']} {reference} holds statistics; the images themselves are needed")
        if reals.size != size:
            raise UserError(f"{flags['path']}: {reals.source} has {reals.size}x{reals.size} pixels, the fakes {size}x{size}: give --size")
        found.append(reals)
    return found[0], found[1]


def _parts_of(run: TrainedRun, cache_dir: Path) -> tuple[Reals, Reals] | None:
    """Return the images that a run with ``trainer.held_out`` was trained on, and those that it held out; None for a run without.

    Raises:
        UserError: the data of the run's config are absent, or are others now.

    """
    config = run.config
    if not config.trainer.held_out:
        return None
    dataset = open_dataset(config.data.model_copy(update={"cache_dir": str(cache_dir)}), progress=process_state().is_main_process)
    if dataset.content_hash != run.state["data"]:
        raise UserError(
            f"{dataset.title} ({dataset.manifest.location}) is not the data of the run: restore them, or name --train and --held-out"
        )
    whole = dataset_reals(dataset, cache_dir=cache_dir)
    order = whole.images.order if isinstance(whole.images, ContentOrder) else range(len(dataset))
    found = []
    for rows, which in zip(
        without_held_out(dataset, share=config.trainer.held_out, seed=config.seed), ("trained on", "held out"), strict=True
    ):
        chosen = set(rows.tolist())
        places = [place for place, number in enumerate(order) if number in chosen]
        images = PartOfImages(whole.images, places, choice=f"{len(places)} of {len(dataset)}, {which} with seed {config.seed}")
        labels = None if whole.labels is None else whole.labels[places]
        found.append(replace(whole, images=images, source=f"{whole.source}, {which}", labels=labels))
    return found[0], found[1]


def _require_fitting(command: MemorisationCommand, run: TrainedRun | None) -> None:
    """Raise ``UserError`` if ``command`` does not fit its source, or lacks training or held-out images; read no image.

    Args:
        command: the command line.
        run: the run; None for pictures in files.

    """
    data = None if run is None else run.config.data
    if data is None and not Path(command.source).exists():
        raise UserError(f"SOURCE: {does_not_exist(Path(command.source))}; give a run folder, or images in a folder, zip or tar")
    if data is not None and command.size is not None:
        raise UserError(f"--size {command.size} is for pictures in files; the images of {command.source} have the size of its data")
    if command.train is None and data is None:
        raise UserError("--train is needed: the images that the generator was trained on, a data set or a folder, zip or tar")
    if command.held_out is None:
        if command.train is not None or data is None:
            raise UserError("--held-out is needed: images of the same kind that were not trained on, a data set or a folder, zip or tar")
        if run is None or not run.config.trainer.held_out:
            _held_out_split(data)


def _held_out_split(data: DataConfig) -> str:
    """Return the name of the split that a run was not trained on."""
    trained_on, split = getattr(data, "split", None), usual_split(PROTOCOL.model_copy(update={"split": "test"}), data.kind)
    if split is None or trained_on in (None, "all", split):
        which = "all images" if trained_on in (None, "all") else f"the split {trained_on}"
        raise UserError(
            f"the run was trained on {which} of {data.kind}: name images that it was not trained on with --held-out, "
            "or train with trainer.held_out"
        )
    return split


@dataclass(frozen=True)
class _Images:
    """Real images with their features, in the same order."""

    reals: Reals
    statistics: ReferenceStatistics

    @property
    def features(self) -> Float[Tensor, "n d"]:
        assert self.statistics.features is not None
        return self.statistics.features

    def labels_with(self, other: "_Images") -> tuple[Int[Tensor, " n"], Int[Tensor, " m"]] | None:
        """Return the labels of both sets; None if one has none."""
        pair = self.reals.labels, other.reals.labels
        return None if pair[0] is None or pair[1] is None else (pair[0], pair[1])


def _with_features(command: MemorisationCommand, reals: Reals, network: Extractor, count: int | None) -> _Images:
    protocol = PROTOCOL.model_copy(update={"num_real": count})
    chosen = chosen_reals(reals, protocol, seed=command.seed, count_key="--num-train")
    statistics = reference_of(
        reals,
        protocol,
        network,
        seed=command.seed,
        cache_dir=Path(command.cache_dir),
        with_features=True,
        batch_size=command.batch_size,
        count_key="--num-train",
    )
    return _Images(chosen, statistics)


def _twins(nearest: NearestRows) -> int:
    """Return the number of points that are a row of the other set, up to the rounding of their features."""
    distances = nearest.squared[:, 0].sqrt()
    return int((distances <= TWIN * distances.median()).sum().item())


def _pairs(neighbours: NearestRows, count: int) -> tuple[Pair, ...]:
    """Return the ``count`` fakes with the smallest calibrated distance, each with its nearest training image."""
    calibrated = calibrated_distances(neighbours)
    return tuple(
        Pair(
            fake=index,
            train=int(neighbours.index[index, 0].item()),
            distance=float(neighbours.squared[index, 0].sqrt().item()),
            calibrated=float(calibrated[index].item()),
        )
        for index in calibrated.argsort(stable=True)[:count].tolist()
    )


def _picture(fakes: Fakes, train: Reals, pairs: Sequence[Pair]) -> bytes:
    """Return the pairs as one PNG, each a fake and its training image."""
    blocks: dict[int, UInt8[Tensor, "b 3 h w"]] = {}
    tiles = []
    for pair in pairs:
        number, place = divmod(pair.fake, BLOCK)
        if number not in blocks:
            blocks[number] = fakes.source.block(number).cpu()
        tiles += [blocks[number][place], train.images.take([pair.train])[0]]
    return grid_png(torch.stack(tiles), columns=2 * PAIRS_PER_ROW)
