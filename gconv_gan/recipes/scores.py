"""Scores of a run or of a folder of images: what to compare with what, by which network."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from accelerate import PartialState

from gconv_gan.config.data import DataConfig, FolderDataConfig
from gconv_gan.config.errors import UserError
from gconv_gan.config.load import parse_command, validated
from gconv_gan.config.scores import ScoreCommand
from gconv_gan.data.cache import open_dataset
from gconv_gan.metrics.evaluate import score
from gconv_gan.metrics.extractors import Extractor
from gconv_gan.metrics.factory import extractor as build_extractor
from gconv_gan.metrics.protocols import Protocol, adjusted, protocol
from gconv_gan.metrics.reference_statistics import ReferenceStatistics, load_statistics
from gconv_gan.metrics.score_card import FakesCard, RunCard, Score, library_versions
from gconv_gan.metrics.sources import ChosenImages, FakeSource, ImageFiles, ImageSource, StoredImages
from gconv_gan.metrics.standing import STANDING, set_standing_statistics
from gconv_gan.recipes.networks import TrainedRun, load_run
from gconv_gan.recipes.references import Reals, dataset_reals, named_data, processes, reference_of
from gconv_gan.runtime.atomic import write_text


def main(arguments: Sequence[str]) -> None:
    """Score what the command line names; print the numbers, and keep them in the run folder and in ``--json``."""
    command = parse_command(ScoreCommand, arguments)
    state = PartialState()
    result = evaluate(command)
    if state.is_main_process:
        print("\n".join(result.lines()))
        for path in _destinations(command, result):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, result.to_json() + "\n")
            print(f"written to {path}")


def _destinations(command: ScoreCommand, result: Score) -> list[Path]:
    paths = [Path(command.json_out)] if command.json_out else []
    if _is_run(command.source):
        safe = "".join(c if c.isalnum() or c in "._-" else "_" for c in result.card.formula.protocol)
        paths.append(
            Path(command.source) / "scores" / f"{safe}-{result.card.extractor.name.split(':')[0]}-{result.card.fakes.images_seen}.json"
        )
    return paths


def _is_run(source: str) -> bool:
    return (Path(source) / "config.json").is_file()


def evaluate(command: ScoreCommand) -> Score:
    """Score ``command.source`` against ``command.reference``; every process returns the same.

    Raises:
        UserError: for a source, reference, extractor or protocol that is absent or does not fit.

    """
    chosen = _protocol(command)
    if _is_run(command.source):
        run = load_run(command.source, images=command.checkpoint)
        fakes, card, about = run_fakes(run, command, chosen)
    else:
        run, about = None, None
        files: StoredImages = ImageFiles(Path(command.source), memory=Path(command.cache_dir) / "fingerprints")
        fakes = files if chosen.num_fake is None else ChosenImages(files, chosen.num_fake, seed=command.seed)
        card = FakesCard(source=command.source)
    reals = _reals(command, run)
    name = command.extractor or chosen.extractor or "inception"
    network = build_extractor(name, weights=Path(command.weights) if command.weights else None, device=PartialState().device)
    reference = _reference(command, reals, chosen, network)
    return score(fakes, reference, network, chosen, fakes=card, run=about, processes=processes(), batch_size=command.batch_size)


def _protocol(command: ScoreCommand) -> Protocol:
    """Return the named protocol, or the usual one of the extractor, with what the command line changes."""
    name = command.protocol
    if name is None:
        kind = (command.extractor or "inception").split(":")[0]
        usual = {"inception": "fid50k_full", "efficientnet_lite0": "fd50k_lite0", "checkpoint": "fd1k_classifier"}
        name = usual.get(kind, "images") if _is_run(command.source) else "images"
    changes = {"metrics": command.metrics, "num_fake": command.num_fake, "num_real": command.num_real}
    return adjusted(protocol(name), **{key: value for key, value in changes.items() if value is not None})


def run_fakes(run: TrainedRun, command: ScoreCommand, chosen: Protocol) -> tuple[ImageSource, FakesCard, RunCard]:
    """Return a run's generator as a source of images, and what the card says about it."""
    device = PartialState().device
    generator = run.generator(command.generator_weights).to(device)
    if command.batch_norm == "standing":
        set_standing_statistics(generator, seed=command.seed)
    source = FakeSource(generator, count=chosen.num_fake or 50_000, seed=command.seed, device=device)
    file = run.checkpoint / ("ema.safetensors" if command.generator_weights == "ema" else "generator.safetensors")
    progress = run.state["progress"]
    card = FakesCard(
        source=str(run.checkpoint),
        weights_sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        weights=command.generator_weights,
        images_seen=progress["images_seen"],
        generator_step=progress["g_steps"],
        n_dis=run.config.trainer.n_dis,
        batch_norm="eval" if command.batch_norm == "eval" else STANDING,
        truncation=None,
        precision="fp32",
        labels=source.labels,
        seed=command.seed,
    )
    about = RunCard(
        config_sha256=hashlib.sha256(run.config.model_dump_json().encode()).hexdigest(),
        training_seed=run.config.seed,
        checkpoint_rule="last" if command.checkpoint is None else "chosen",
        batch_size=command.batch_size,
        device=str(device),
        versions=library_versions(),
        seconds=0.0,
    )
    return source, card, about


def _reference(command: ScoreCommand, reals: ReferenceStatistics | Reals, chosen: Protocol, network: Extractor) -> ReferenceStatistics:
    if isinstance(reals, ReferenceStatistics):
        return reals
    return reference_of(reals, chosen, network, seed=command.seed, cache_dir=Path(command.cache_dir), batch_size=command.batch_size)


def _reals(command: ScoreCommand, run: TrainedRun | None) -> ReferenceStatistics | Reals:
    """Open what the command line names as reference; statistics are read, images are not."""
    if command.reference is None:
        if run is None:
            raise UserError("--reference is needed: a data set, images in a folder or zip, or cached statistics")
        changes: dict[str, object] = {"cache_dir": command.cache_dir}
        if command.reference_split is not None:
            changes["split"] = command.reference_split
        return dataset_reals(open_dataset(_with(run.config.data, changes)))
    if (Path(command.reference) / "statistics.json").is_file():
        return load_statistics(Path(command.reference))
    size = run.config.data.size if run is not None else None
    split = {} if command.reference_split is None else {"split": command.reference_split}
    named = named_data(
        command.reference, size=size, changes={"cache_dir": command.cache_dir, **split}, like=run.config.data if run else None
    )
    if named is not None:
        return dataset_reals(open_dataset(named))
    if size is not None:
        folder = {"path": command.reference, "size": size, "cache_dir": command.cache_dir, **split}
        return dataset_reals(open_dataset(validated(FolderDataConfig, folder, "--reference")))
    prefix = "" if command.reference_split is None else f"{command.reference_split}/"
    files = ImageFiles(Path(command.reference), prefix=prefix, memory=Path(command.cache_dir) / "fingerprints")
    return Reals(files, command.reference, command.reference_split, "as stored")


def _with(config: DataConfig, changes: dict[str, object]) -> DataConfig:
    values = {**json.loads(config.model_dump_json()), **changes}
    return validated(type(config), values, "--reference-split")
