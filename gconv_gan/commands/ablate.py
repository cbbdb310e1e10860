"""An ablation: the arms of a GAN run on paired seeds, trained side by side, scored alike, and compared seed by seed.

Arms of one seed share latents, labels, the order of the images and their mirroring, since all of these are functions of the seed and
the counters.
"""

import json
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gconv_gan.commands.ablation.report import ArmRuns, report, table
from gconv_gan.commands.ablation.workers import train_all
from gconv_gan.commands.cost.speed_record import measured
from gconv_gan.commands.gallery import ABLATION_RESULT, ablation_page
from gconv_gan.commands.train.accelerator import build_accelerator
from gconv_gan.commands.train.training_score import CARDS
from gconv_gan.config.ablations import AblateCommand, AblationConfig
from gconv_gan.config.errors import UserError
from gconv_gan.config.load import load_config, parse_command
from gconv_gan.config.plugins import take_plugins
from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.data.cache import open_dataset
from gconv_gan.data.image_dataset import ImageDataset
from gconv_gan.experiments.arms import arm_fields, load_experiment, named_run
from gconv_gan.gallery.page.own_files import require_own_page
from gconv_gan.runtime.atomic import write_text
from gconv_gan.runtime.run_folder import RunFolder


def main(arguments: Sequence[str]) -> None:
    """Train, score and compare the arms of the ablation that the command line names; print the table."""
    plugins, options = take_plugins(arguments)
    command = parse_command(AblateCommand, options)
    path = Path(command.config)
    config = load_experiment(AblationConfig, path, plugins)
    out = Path(command.page) if command.page is not None else Path(command.runs_dir) / config.name / "page"
    require_own_page(out)
    result = ablate(config, command, folder=path.parent, repeat=shlex.join(["python", "eval/ablate.py", *arguments]))
    print(table(result))
    print(f"page: {ablation_page(Path(command.runs_dir) / config.name, out)}")


def _seeds(config: AblationConfig, command: AblateCommand) -> tuple[int, ...]:
    return numbers(command.seeds) if command.seeds is not None else tuple(range(config.seeds))


def ablate(config: AblationConfig, command: AblateCommand, *, folder: Path, repeat: str = "") -> dict[str, Any]:
    """Return the scores of all arms and the comparisons, as the JSON file holds them; they are in the folder of the ablation, too.

    Args:
        config: the arms.
        command: the options.
        folder: that of the file of ``config``.
        repeat: the command line that repeats the ablation.

    Raises:
        UserError: an arm cannot be trained.
        StoppedBySignalError: a signal that ends a process arrived; all runs were saved.

    """
    begun = time.perf_counter()
    seeds = _seeds(config, command)
    runs = {(arm, seed): arm_run(config, command, arm, seed, folder=folder) for seed in seeds for arm in config.arms}
    dataset = _one_dataset(list(runs.values()))
    costs = {arm: arm_costs(runs[arm, seeds[0]], dataset) for arm in config.arms}
    first = next(iter(runs.values()))

    def found(images: int) -> dict[str, Any]:
        arms = {
            arm: ArmRuns(**costs[arm], scores={seed: scores_of(runs[arm, seed], images) for seed in seeds}, curves=curves(runs, arm, seeds))
            for arm in config.arms
        }
        facts = {
            "images": images,
            "asked_images": first.trainer.total_images,
            "protocol": first.evaluation.protocol,
            "data": dataset.title,
            "seconds": time.perf_counter() - begun,
            "command": repeat,
            "runs": {arm: {str(seed): runs[arm, seed].name for seed in seeds} for arm in config.arms},
        }
        return report(config, arms, facts)

    def written(images: int) -> dict[str, Any]:
        result = found(images)
        for file in (Path(first.runs_dir) / ABLATION_RESULT, command.json_out):
            if file is not None:
                write_text(Path(file), json.dumps(result, indent=1) + "\n")
        return result

    def along(images: int, scored: bool) -> None:
        print(f"{images:,} images after {time.perf_counter() - begun:.1f} s", flush=True)
        if scored:
            written(images)

    limit = None if command.hours is None else begun + 3600 * command.hours
    return written(train_all(runs, processes=command.processes, limit=limit, along=along))


def numbers(text: str) -> tuple[int, ...]:
    """Return the seeds that "5", "0..7" or "1,3,4" name; raise ``UserError`` for anything else."""
    try:
        if ".." in text:
            first, last = (int(part) for part in text.split(".."))
            found = tuple(range(first, last + 1))
        else:
            found = tuple(int(part) for part in text.split(",")) if "," in text else tuple(range(int(text)))
    except ValueError:
        found = ()
    if not found or min(found) < 0 or len(set(found)) != len(found):
        raise UserError(f"--seeds {text}: give a number of seeds (5), the first and the last (0..7), or each (1,3,4)")
    return found


def arm_run(config: AblationConfig, command: AblateCommand, arm: str, seed: int, *, folder: Path) -> GANRunConfig:
    """Return the run of one arm with one seed; raise ``UserError`` if it has no scores."""
    base = load_config(GANRunConfig, folder / config.base).model_dump(mode="json", exclude_unset=True)
    fields = arm_fields(base, config, arm)
    left_out = {"data": {"path", "cache_dir", "resident"}, "trainer": {"total_images"}, "evaluation": {"every"}}
    run = named_run(GANRunConfig, fields, command, (config.name, arm, seed), left_out=left_out)
    if not run.evaluation.every:
        raise UserError(f"ablation {config.name} computes no scores: set run.evaluation.every")
    return run


def _one_dataset(runs: Sequence[GANRunConfig]) -> ImageDataset:
    """Open the data set of all arms; raise ``UserError`` if they differ, since the arms must be trained on the same images."""
    if any(run.data != runs[0].data for run in runs):
        raise UserError("the arms of an ablation share their data: set [run.data], not the data of an arm")
    return open_dataset(runs[0].data)


def arm_costs(config: GANRunConfig, dataset: ImageDataset) -> dict[str, Any]:
    """Return parameters and MACs per image of an arm's generator, and seconds and memory of an iteration of it alone."""
    accelerator = build_accelerator(config)
    found = measured("", config, config.trainer.engine, "tf32", dataset, accelerator, seconds=0.0)
    memory = round(found.peak_gib * 2**30)
    return {"parameters": found.parameters, "macs": found.generator_macs, "step_seconds": found.milliseconds / 1000, "memory": memory}


# ---- results ---------------------------------------------------------------------------------------------------------


def scores_of(config: GANRunConfig, images: int) -> dict[str, float] | None:
    """Return the scores of a run at ``images`` images, by name; None: it ended before, by non-finite numbers."""
    file = RunFolder(Path(config.runs_dir) / config.name).scores / CARDS / f"{images}.json"
    if not file.is_file():
        return None
    return {name: float(value) for name, value in json.loads(file.read_text())["scores"].items()}


def curves(runs: Mapping[tuple[str, int], GANRunConfig], arm: str, seeds: Sequence[int]) -> dict[int, dict[int, dict[str, float]]]:
    """Return the scores of an arm's runs during training: seed -> images -> name -> score."""
    found: dict[int, dict[int, dict[str, float]]] = {}
    for seed in seeds:
        config = runs[arm, seed]
        folder = RunFolder(Path(config.runs_dir) / config.name).scores / CARDS
        at = sorted(int(file.stem) for file in folder.glob("*.json") if int(file.stem))
        found[seed] = {images: scores for images in at if (scores := scores_of(config, images)) is not None}
    return found
