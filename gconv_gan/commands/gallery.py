"""Pages: the gallery of a run, the comparison of several runs from the same latents, and the page of an ablation, drawn again."""

import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import torch
import tyro
from pydantic import NonNegativeInt

from gconv_gan.commands.gallery_facts import CONVOLUTION, circumstances, details
from gconv_gan.commands.onnx_file import VariablyTruncated, onnx_difference, require_onnx, write_onnx
from gconv_gan.commands.runs import best
from gconv_gan.commands.train.networks import TrainedRun, load_run
from gconv_gan.config.base import Config
from gconv_gan.config.commands import Checkpoint
from gconv_gan.config.errors import AbsentDataError, UserError, reworded
from gconv_gan.config.load import load_config, parse_command, validated
from gconv_gan.config.sections.data import DataConfig, as_flags
from gconv_gan.data.cache import open_dataset
from gconv_gan.data.wordnet_names import wordnet_names
from gconv_gan.experiments.plot import plot_drawing
from gconv_gan.experiments.report import AblationResult
from gconv_gan.gallery.build import build_gallery
from gconv_gan.gallery.page.ablation_page import build_ablation
from gconv_gan.gallery.page.comparison_page import build_comparison, require_same_latents
from gconv_gan.gallery.page.index import write_index
from gconv_gan.gallery.page.own_files import require_own_index, require_own_page
from gconv_gan.gallery.page.theme import LIGHT
from gconv_gan.gallery.pictures.curves.history import draw_sheet, score_series, training_series
from gconv_gan.gallery.pictures.curves.score_curves import curve_series
from gconv_gan.gallery.pictures.headed_grids import HeadedGrid, headed_grids
from gconv_gan.gallery.pictures.registry import draw_unconditional
from gconv_gan.gallery.pictures.reported import reported_drawings
from gconv_gan.gallery.score import Score, read_score
from gconv_gan.gallery.slider.runtime import read_runtime
from gconv_gan.gallery.slider.slider import Slider
from gconv_gan.gallery.trained_generator import SAMPLE_BATCH, FeatureExtractor, RunFacts, TrainedGenerator, TrainingImages
from gconv_gan.layers.weights import channels_last
from gconv_gan.metrics.extractors.factory import extractor
from gconv_gan.metrics.tables import lower_is_better
from gconv_gan.models.gan.mapping import MappedGenerator
from gconv_gan.runtime.device import command_device
from gconv_gan.runtime.files.atomic import require_possible_folder, write_bytes
from gconv_gan.runtime.tracking import read_metrics

WITHOUT_SLIDER = "leave --slider out"
ABLATION_RESULT = "result.json"
"""File of an ablation's result in its folder, beside the folders of its runs."""
ABLATION_PAGE = "page"
"""Folder of its page, in the same place."""


class GalleryCommand(Config):
    """Draw the gallery of a run, the comparison of several runs side by side, or the page of an ablation from its folder."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN [RUN ...]")]
    """The run folder, the folders of several runs in the order of the columns, or the folder of an ablation."""
    out: str | None = None
    """Folder of the page; None: RUN/gallery, RUN/comparisons/OTHERS in the first of several runs, or the page folder of the ablation."""
    index: str | None = None
    """Write an index page of all galleries below this folder; None: no index."""
    checkpoint: Checkpoint = None
    seed: NonNegativeInt = 0
    """Seed of all latents and labels."""
    extractor: str | None = None
    """Extractor, named as for scores, in whose features nearest training images are searched as well; None: in pixels only."""
    weights: str | None = None
    """A file of Inception weights, for an extractor that takes one."""
    cache_dir: str | None = None
    """Folder of converted data; None: that of each run's config."""
    slider: Annotated[str | None, tyro.conf.arg(metavar="PACKAGE")] = None
    """Add a latent slider that runs the generator in the browser, without network: the folder node_modules/onnxruntime-web, which npm
    install onnxruntime-web makes; its files are copied beside the page."""
    curves: str | None = None
    """Write the curves of training and of the scores to this PNG file, as one picture, and draw nothing else."""
    picture: str | None = None
    """Write the first 64 samples of every run to this PNG file, as one picture with headings, and draw nothing else."""


def main(arguments: Sequence[str]) -> None:
    """Draw the page or the picture that the command line names and print its path."""
    command = parse_command(GalleryCommand, arguments)
    if not command.runs:
        raise UserError("RUN is missing: name the folder of a run, those of several runs, or that of an ablation")
    if command.index is not None:
        require_own_index(Path(command.index))
    folder = Path(command.runs[0])
    if command.picture is not None:
        print(f"picture: {draw_picture(command)}")
        return
    if len(command.runs) > 1:
        print(f"comparison: {draw_comparison(command)}")
    elif (folder / ABLATION_RESULT).is_file():
        print(f"page: {draw_ablation(command)}")
    elif not (folder / "config.json").is_file() and any(folder.glob("*/config.json")):
        raise UserError(
            f"{folder} holds runs and is not one: name those to be drawn; an ablation without {ABLATION_RESULT} has no scores yet, and the "
            "command that began it goes on with it"
        )
    elif command.curves is not None:
        print(f"curves: {draw_curves(command)}")
        return
    else:
        print(f"gallery: {draw_run(command)}")
    if command.index is not None:
        print(f"index: {write_index(Path(command.index), lower_is_better=lower_is_better())}")


def _refuse(command: GalleryCommand, options: Sequence[str], reason: str) -> None:
    """Raise ``UserError`` with the reason for the first of the options that is given."""
    given = [name for name in options if getattr(command, name) is not None]
    if given:
        raise UserError(f"--{given[0]} {getattr(command, given[0])}: {reason}")


def draw_picture(command: GalleryCommand) -> Path:
    """Write the first samples of the runs that a command line names, from the same latents, as one PNG; return its path.

    Raises:
        UserError: the path does not end in .png, the runs differ in latent dimension or classes, or an option is for pages.

    """
    _refuse(command, ("out", "index", "extractor", "weights", "slider", "curves"), "not together with --picture, which draws no page")
    path = Path(str(command.picture))
    if path.suffix != ".png":
        raise UserError(f"--picture {path}: the picture is a PNG: name a file that ends in .png")
    require_possible_folder(path.parent, "--picture")
    folders = [Path(run) for run in command.runs]
    runs = [load_run(folder, checkpoint=command.checkpoint) for folder in folders]
    generators = [trained_generator(run, folder, cache_dir=command.cache_dir) for run, folder in zip(runs, folders, strict=True)]
    require_same_latents(generators)
    grids = []
    for trained in generators:
        (drawing,) = draw_unconditional(trained, seed=command.seed, rows=8, columns=8)
        words = f"{trained.run.details[CONVOLUTION]}; {trained.run.images_seen:,} images"
        grids.append(HeadedGrid(trained.run.name, words, drawing.content))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, headed_grids(grids))
    return path


def draw_comparison(command: GalleryCommand) -> Path:
    """Draw the comparison of the runs that a command line names, and return the path of its page.

    Raises:
        UserError: an option is for a single run, or the runs differ in latent dimension or classes.

    """
    _refuse(command, ("extractor", "weights", "slider", "curves"), "for a single run, but several are named; leave it out")
    folders = [Path(run) for run in command.runs]
    runs = [load_run(folder, checkpoint=command.checkpoint) for folder in folders]
    others = "-".join(run.config.name for run in runs[1:])
    out = Path(command.out) if command.out else folders[0] / "comparisons" / others
    require_possible_folder(out, "--out")
    require_own_page(out)
    generators = [trained_generator(run, folder, cache_dir=command.cache_dir) for run, folder in zip(runs, folders, strict=True)]
    return build_comparison(out, generators, seed=command.seed)


def draw_ablation(command: GalleryCommand) -> Path:
    """Draw the page of the ablation that a command line names, and return its path.

    Raises:
        UserError: an option is for runs only.

    """
    folder = Path(command.runs[0])
    options = ("checkpoint", "extractor", "weights", "slider", "curves")
    _refuse(command, options, f"for a run, but {folder} is an ablation: name one of the runs in it, or leave the option out")
    out = Path(command.out) if command.out else folder / ABLATION_PAGE
    require_possible_folder(out, "--out")
    return ablation_page(folder, out, seed=command.seed, cache_dir=command.cache_dir)


def ablation_page(folder: Path, out: Path, *, seed: int = 0, cache_dir: str | None = None) -> Path:
    """Draw the page of an ablation from the result in its folder and the newest checkpoints of its runs; return the path of the page.

    Pictures are of the first seed that every arm has a score of.

    Raises:
        UserError: the result is damaged, or a run is not there, or ``out`` holds a page of others.

    """
    require_own_page(out)
    file = folder / ABLATION_RESULT
    try:
        result = json.loads(file.read_text())
        arms, runs = result["arms"], result["runs"]
        seeds = [seed for seed in next(iter(runs.values()), {}) if all(seed in arm["scores"] for arm in arms.values())]
        folders = {arm: folder / runs[arm][seeds[0]] for arm in arms} if seeds else {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file} is damaged ({error}): the command that trained the ablation writes it again") from error
    generators = {arm: trained_generator(load_run(path), path, cache_dir=cache_dir) for arm, path in folders.items()}
    cost = plot_drawing(load_config(AblationResult, file)) if any(arm["scores"] for arm in arms.values()) else None
    return build_ablation(out, result, generators, command=str(result["command"]), lower_is_better=lower_is_better(), cost=cost, seed=seed)


def draw_run(command: GalleryCommand) -> Path:
    """Draw the gallery of the run that a command line names, and return the path of its page."""
    folder = Path(command.runs[0])
    run = load_run(folder, checkpoint=command.checkpoint)
    out = Path(command.out) if command.out else folder / "gallery"
    require_possible_folder(out, "--out")
    require_own_page(out)
    network = feature_extractor(command.extractor, command.weights)
    slider = None if command.slider is None else latent_slider(run, Path(command.slider))
    shown = trained_generator(run, folder, cache_dir=command.cache_dir, extractor=network)
    return build_gallery(out, shown, seed=command.seed, slider=slider)


def latent_slider(run: TrainedRun, package: Path) -> Slider:
    """Return model and runtime of the latent slider of a run.

    Raises:
        UserError: ``package`` is not the runtime, or the generator cannot be exported to ONNX.

    """
    runtime = read_runtime(package)
    require_onnx(WITHOUT_SLIDER)
    generator = run.generator()
    network = VariablyTruncated(generator) if isinstance(generator, MappedGenerator) else generator
    with TemporaryDirectory() as folder:
        file = Path(folder) / "generator.onnx"
        write_onnx(network, file, advice=WITHOUT_SLIDER)
        onnx_difference(network, file, advice=WITHOUT_SLIDER)
        return Slider(runtime, file.read_bytes(), truncates=isinstance(network, VariablyTruncated))


def draw_curves(command: GalleryCommand) -> Path:
    """Write the curves of the training log and of the scores, up to a run's checkpoint, as one PNG; return its path.

    Raises:
        UserError: the path does not end in .png, or there is nothing to draw, or an option is for pages.

    """
    folder, path = Path(command.runs[0]), Path(str(command.curves))
    run = load_run(folder, checkpoint=command.checkpoint)
    _refuse(command, ("out", "index", "extractor", "weights", "slider"), "not together with --curves, which draws no page")
    if path.suffix != ".png":
        raise UserError(f"--curves {path}: the picture is a PNG: name a file that ends in .png")
    require_possible_folder(path.parent, "--curves")
    records = records_of(run, folder)
    panels = [
        *score_series(records, lower_is_better()),
        *(series for series, _ in curve_series(scores_of(run, folder))),
        *training_series(records),
    ]
    if not panels:
        raise UserError(f"{folder} has no curves: its metrics.jsonl holds no numbers up to {run.images_seen} images")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, draw_sheet(panels, title=run.config.name, theme=LIGHT))
    return path


def records_of(run: TrainedRun, folder: Path) -> tuple[Mapping[str, object], ...]:
    """Return the records of a run's training log up to its checkpoint."""
    return tuple(record for record in read_metrics(folder / "metrics.jsonl") if record["images"] <= run.images_seen)


def scores_of(run: TrainedRun, folder: Path) -> tuple[Score, ...]:
    """Return the scores in the files of a run, without those of later checkpoints."""
    scores = (_read(path) for path in sorted((folder / "scores").glob("*.json")))
    return tuple(score for score in scores if (score.images_seen or 0) <= run.images_seen)


def _read(path: Path) -> Score:
    try:
        return read_score(dict(json.loads(path.read_text())), lower_is_better=lower_is_better())
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): score the run again, or remove it") from error


def feature_extractor(name: str | None, weights: str | None) -> FeatureExtractor | None:
    """Return the network that ``--extractor`` names, on the device of this process; None without a name.

    Raises:
        UserError: for an unknown name or missing weights, or weights without an extractor that takes them.

    """
    if name is None:
        if weights is not None:
            raise UserError("--weights is a file for --extractor inception, which is not given")
        return None
    network = extractor(name, weights=Path(weights) if weights else None, device=command_device())
    return FeatureExtractor(
        name, lambda images: torch.cat([network(batch.to(network.device))[0].cpu() for batch in torch.split(images, SAMPLE_BATCH)])
    )


def training_images(data: DataConfig, cache_dir: str | None) -> TrainingImages | None:
    """Return the training images of a run; if the data are absent, print a message and return None.

    Raises:
        UserError: the data are there, but cannot be read.

    """
    values = json.loads(data.model_dump_json()) | ({"cache_dir": cache_dir} if cache_dir else {})
    try:
        with reworded(partial(as_flags, {"cache_dir": "--cache-dir"}, data.kind)):
            dataset = open_dataset(validated(type(data), values, "--cache-dir"))
    except AbsentDataError as error:
        print(f"gallery: without nearest training images, because the data are absent: {error}")
        return None
    return TrainingImages(dataset.images, dataset.title, dataset.content_hash, mirrored=data.flip)


def trained_generator(
    run: TrainedRun, folder: Path, *, cache_dir: str | None = None, extractor: FeatureExtractor | None = None
) -> TrainedGenerator:
    """Return the input of the pictures of ``run``, its networks on the device of this process."""
    file = run.checkpoint / "ema.safetensors"
    generator = run.generator().to(command_device())
    channels_last(generator)  # as gconv-gan sample does: at other strides a convolution may round differently
    config, progress = run.config, run.state["progress"]
    discriminator = run.discriminator().to(command_device())
    sizes = sum(p.numel() for p in generator.parameters()), sum(p.numel() for p in discriminator.parameters())
    records = records_of(run, folder)
    top = best(folder, run.checkpoint)
    plugins = ["--plugins", *config.plugins] if config.plugins else []
    path = getattr(config.data, "path", None)
    names = run.class_names if path is None else wordnet_names(Path(path), run.class_names)
    facts = RunFacts(
        name=config.name,
        dataset=str(run.state["data_title"]),
        images_seen=run.images_seen,
        checkpoint=run.checkpoint.name,
        checkpoint_sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        sample_command=shlex.join(["gconv-gan", "sample", str(folder), *plugins, "--checkpoint", str(run.images_seen)]),
        class_names=names,
        class_folders=run.class_names if names != run.class_names else (),
        details=details(config, classes=run.num_classes, g_steps=progress["g_steps"], parameters=sizes) | circumstances(folder, records),
        best_name=None if top is None else top.name,
        best_score=None if top is None else top.value,
        best_direction=None if top is None else top.direction,
        date=f"{datetime.fromtimestamp(file.stat().st_mtime):%Y-%m-%d %H:%M}",
    )
    grids = ((int(path.stem), path) for path in (folder / "samples").glob("*.png") if path.stem.isdigit())
    timeline = tuple(sorted((images, path) for images, path in grids if images <= run.images_seen))
    reals = folder / "samples" / "reals.png"
    return TrainedGenerator(
        generator,
        facts,
        lower_is_better(),
        records,
        scores_of(run, folder),
        timeline,
        reals if reals.is_file() else None,
        discriminator=discriminator,
        training=training_images(config.data, cache_dir),
        extractor=extractor,
        methods=reported_drawings(folder / "methods", "method"),
        curvature=reported_drawings(folder / "curvature", "curvature"),
    )
