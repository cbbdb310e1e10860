"""An ablation: the arms of a run, a GAN's or a classifier's, on paired seeds, trained side by side, scored alike, compared seed by seed.

Arms of one seed share latents, labels, the order of the images and their mirroring, since all of these are functions of the seed and
the counters.
"""

import shlex
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from gconv_gan.commands.ablation import classifier_arms, gan_arms
from gconv_gan.commands.ablation.workers import train_all
from gconv_gan.commands.gallery import ABLATION_PAGE, ABLATION_RESULT, ablation_page
from gconv_gan.config.ablations import AblateCommand, AblationConfig, AblationOptions
from gconv_gan.config.errors import UserError, reworded
from gconv_gan.config.load import parse_command
from gconv_gan.config.plugins import take_plugins
from gconv_gan.config.sections.classifiers import ClassifierRunConfig
from gconv_gan.config.sections.data import as_flags
from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.data.cache import open_dataset
from gconv_gan.data.image_dataset import ImageDataset
from gconv_gan.experiments.arms import RunConfig, arm_run, load_ablation
from gconv_gan.experiments.report import AblationResult, report, table
from gconv_gan.gallery.page.own_files import require_own_page
from gconv_gan.runtime.files.atomic import write_text
from gconv_gan.runtime.run_folder import versions


def main(arguments: Sequence[str]) -> None:
    """Train, score and compare the arms of the ablation that the command line names; print the table."""
    plugins, options = take_plugins(arguments)
    command = parse_command(AblateCommand, options)
    path = Path(command.config)
    config = load_ablation(path, plugins)
    folder = Path(command.runs_dir) / config.name
    out = folder / ABLATION_PAGE if command.page is None else Path(command.page)
    require_own_page(out)

    def store(result: AblationResult) -> None:
        if command.json_out is not None:
            write_result(result, Path(command.json_out))

    words = shlex.join(["gconv-gan", "ablate", *arguments])
    result = ablate(config, command, hours=command.hours, along=store, repeat=words)
    print(table(result))
    store(result)
    print(f"page: {ablation_page(folder, out)}")


def write_result(result: AblationResult, file: Path) -> None:
    """Write a result as JSON."""
    write_text(file, result.model_dump_json(indent=1) + "\n")


def ablate(
    config: AblationConfig,
    command: AblationOptions,
    *,
    hours: float | None = None,
    along: Callable[[AblationResult], None] = lambda _: None,
    repeat: str = "",
) -> AblationResult:
    """Train and score all arms, and return the result; it is in the folder of the ablation, too.

    Args:
        config: the ablation.
        command: overrides of the command line.
        hours: time limit of GANs; None: no limit.
        along: called with the result at every score of GANs during training.
        repeat: the command line that repeats the ablation.

    Raises:
        UserError: an arm cannot be trained.
        StoppedBySignalError: a signal that ends a process arrived; all runs were saved.

    """
    begun = time.perf_counter()
    seeds = _seeds(config, command)
    runs = {(arm, seed): arm_run(config, command, arm, seed) for seed in seeds for arm in config.arms}
    gans = {name: run for name, run in runs.items() if isinstance(run, GANRunConfig)}
    classifiers = {name: run for name, run in runs.items() if isinstance(run, ClassifierRunConfig)}
    first = next(iter(runs.values()))
    flags = {"path": "--data-path", "cache_dir": "--cache-dir"}
    with reworded(partial(as_flags, flags, first.data.kind)):
        dataset = _one_dataset(list(runs.values()))
    facts = {"asked_images": first.trainer.total_images, "data": dataset.title, "versions": versions(), "command": repeat}

    def written(result: AblationResult) -> AblationResult:
        write_result(result, Path(first.runs_dir) / ABLATION_RESULT)
        return result

    def spoken(images: int) -> None:
        print(f"{images:,} images after {time.perf_counter() - begun:.1f} s", flush=True)

    if classifiers:
        if hours is not None:
            raise UserError("--hours is for GANs: the learning rate of a classifier depends on the length of its run; set --images")
        left = {name: run for name, run in classifiers.items() if not classifier_arms.is_tested(run)}
        if left:
            train_all(left, processes=command.processes, limit=None, along=lambda images, _: spoken(images))
        tested = classifier_arms.arm_results(classifiers, seeds, config.attacks)
        facts |= {"images": first.trainer.total_images, "protocol": "the test set", "seconds": time.perf_counter() - begun}
        return written(report(config, tested, facts))

    costs = {arm: gan_arms.arm_costs(gans[arm, seeds[0]], dataset) for arm in config.arms}
    facts["protocol"] = next(iter(gans.values())).evaluation.protocol
    facts["runs"] = {arm: {seed: gans[arm, seed].name for seed in seeds} for arm in config.arms}

    def found(images: int) -> AblationResult:
        arms = {arm: gan_arms.arm_result(gans, arm, seeds, images, costs[arm]) for arm in config.arms}
        return report(config, arms, {**facts, "images": images, "seconds": time.perf_counter() - begun})

    def scored(images: int, has_scores: bool) -> None:
        spoken(images)
        if has_scores:
            along(written(found(images)))

    limit = None if hours is None else begun + 3600 * hours
    return written(found(train_all(gans, processes=command.processes, limit=limit, along=scored)))


def _seeds(config: AblationConfig, command: AblationOptions) -> tuple[int, ...]:
    return numbers(command.seeds) if command.seeds is not None else tuple(range(config.seeds))


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


def _one_dataset(runs: Sequence[RunConfig]) -> ImageDataset:
    """Open the data of all arms before processes start; raise ``UserError`` if they differ: the arms must be trained on the same images."""
    for data in ("data", "test_data"):
        if any(getattr(run, data, None) != getattr(runs[0], data, None) for run in runs):
            raise UserError(f"the arms of an ablation share their data: set [run.{data}], not the data of an arm")
    if isinstance(runs[0], ClassifierRunConfig):
        open_dataset(runs[0].test_data)
    return open_dataset(runs[0].data)
