"""An ablation: the arms of a GAN run on paired seeds, trained side by side in one process, scored alike, and compared seed by seed.

Arms of one seed share latents, labels, the order of the images and their mirroring, since all of these are functions of the seed and
the counters. On a CUDA device every run is a CUDA graph that is replayed on a separate stream, so that several small runs use the
device concurrently.
"""

import json
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from gconv_gan.commands.ablation_report import ArmRuns, report, table
from gconv_gan.commands.cost.speed_record import measured
from gconv_gan.commands.train.accelerator import build_accelerator
from gconv_gan.commands.train.gan import build_task
from gconv_gan.commands.train.gan_checks import check
from gconv_gan.commands.train.training_score import CARDS
from gconv_gan.config.ablations import AblateCommand, AblationConfig
from gconv_gan.config.errors import StoppedBySignalError, UserError
from gconv_gan.config.load import load_config, merged, parse_command
from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.data.cache import open_dataset
from gconv_gan.data.image_dataset import ImageDataset
from gconv_gan.experiments.arms import named_run
from gconv_gan.metrics.cost import synchronise
from gconv_gan.runtime.atomic import write_text
from gconv_gan.runtime.capture import STREAMS, own_stream
from gconv_gan.runtime.device import command_device
from gconv_gan.runtime.full_disk import writing
from gconv_gan.runtime.run_folder import RunFolder
from gconv_gan.training.adversarial import Adversarial
from gconv_gan.training.guards import NotFiniteError, noticing_signals
from gconv_gan.training.loop import Run, iterations
from gconv_gan.training.state import due

QUEUED = 16
"""Rounds that are launched before the host waits for the device and reads the clock."""
ENDING = 0.5
"""Reserved seconds for the pictures and the checkpoint at the end of a run."""
SPOKEN = 250
"""Rounds between two progress lines."""
FREE = 1.5
"""The next seed is started if this many times the memory of the last one is free."""


def main(arguments: Sequence[str]) -> None:
    """Train, score and compare the arms of the ablation that the command line names; print the table."""
    command = parse_command(AblateCommand, arguments)
    path = Path(command.config)
    config = load_config(AblationConfig, path)
    result = ablate(config, command, folder=path.parent)
    print(table(result))
    if command.json_out is not None:
        _write(result, command.json_out)


def _write(result: Mapping[str, Any], file: str) -> None:
    write_text(Path(file), json.dumps(result, indent=1) + "\n")


def ablate(config: AblationConfig, command: AblateCommand, *, folder: Path) -> dict[str, Any]:
    """Return the scores of all arms and the comparisons, as the JSON file holds them.

    Raises:
        UserError: an arm cannot be trained.
        StoppedBySignalError: a signal that ends a process arrived; all runs were saved.

    """
    begun = time.perf_counter()
    seeds = numbers(command.seeds) if command.seeds is not None else tuple(range(config.seeds))
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
        }
        return report(config, arms, facts)

    def along(images: int, scored: bool) -> None:
        print(f"{images:,} images after {time.perf_counter() - begun:.1f} s", flush=True)
        if scored and command.json_out is not None:
            _write(found(images), command.json_out)

    return found(side_by_side(runs, dataset, limit=None if command.hours is None else begun + 3600 * command.hours, along=along))


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
    fields = merged(merged(base, config.run), config.arms[arm])
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
    """Return parameters and MACs per image of an arm's generator, and the seconds of an iteration of this arm alone on this device."""
    accelerator = build_accelerator(config)
    found = measured("", config, config.trainer.engine, "tf32", dataset, accelerator, seconds=0.0)
    return {"parameters": found.parameters, "macs": found.generator_macs, "step_seconds": found.milliseconds / 1000}


# ---- side by side ----------------------------------------------------------------------------------------------------


@dataclass
class Started:
    """A run that is being trained."""

    name: tuple[str, int]
    task: Adversarial
    going: Generator[int, bool | None, None]
    accelerator: Accelerator
    stream: Any
    """CUDA stream of the run; None on a CPU."""
    images: int = 0
    """Images seen after the last iteration, before its status line, score and checkpoint."""
    ended: bool = False

    def go_on(self, *, end: bool = False) -> None:
        """Write status line, score and checkpoint due after the last iteration; then run the next iteration or end the run."""
        with torch.cuda.stream(self.stream):  # with None, the current stream
            try:
                self.images = self.going.send(end) if self.images else next(self.going)
            except StopIteration:
                self._end(self.task.progress.images_seen)
            except StoppedBySignalError:
                self._end(self.images)
                raise
            except NotFiniteError as error:
                self._end(self.images)
                print(f"{self.name[0]}, seed {self.name[1]}: {error}", flush=True)

    def _end(self, images: int) -> None:
        self.ended, self.images = True, images
        self.accelerator.end_training()


def side_by_side(
    runs: Mapping[tuple[str, int], GANRunConfig], dataset: ImageDataset, *, limit: float | None, along: Callable[[int, bool], None]
) -> int:
    """Train all runs to their length, or until ``limit`` (a reading of ``time.perf_counter``); return the images seen by each.

    As many seeds as fit into the device's memory are trained together. With a time limit, the first of these groups determines the
    length of all. ``along`` is called regularly with the images seen and whether all runs of a group have a new score.
    """
    left = dict(runs)
    length: int | None = None
    with noticing_signals() as signals:
        while left:
            with ExitStack() as stack:
                together = _started(left, dataset, signals, stack)
                batches = -(-len(runs) // len(together))
                share = None if limit is None or length is not None else time.perf_counter() + (limit - time.perf_counter()) / batches
                length = _in_turns(together, length=length, limit=share, along=along)
            for run in together:
                del left[run.name]
    assert length is not None
    return length


def _started(left: Mapping[tuple[str, int], GANRunConfig], dataset: ImageDataset, signals: list[int], stack: ExitStack) -> list[Started]:
    """Return the started runs: seeds in order, as long as they fit into the device's memory and have a stream each."""
    started: list[Started] = []
    arms = len({arm for arm, _ in left})
    for seed in dict.fromkeys(seed for _, seed in left):
        before = _free_memory()
        for name, config in left.items():
            if name[1] == seed:
                started.append(_start(name, config, dataset, signals, stack))
        now = _free_memory()
        if now is not None and before is not None and (now < FREE * (before - now) or len(started) + arms > STREAMS):
            break
    return started


def _free_memory() -> int | None:
    if command_device().type != "cuda":
        return None
    torch.cuda.empty_cache()
    return torch.cuda.mem_get_info()[0]


def _start(name: tuple[str, int], config: GANRunConfig, dataset: ImageDataset, signals: list[int], stack: ExitStack) -> Started:
    """Build or resume a run, and train its first iteration, before which a graph is captured."""
    accelerator = build_accelerator(config)
    stream = own_stream(accelerator.device) if accelerator.device.type == "cuda" else None
    parts = check(config, accelerator, dataset)
    with torch.cuda.stream(stream):
        task = build_task(config, parts, dataset, accelerator)
    stack.enter_context(parts.folder.alone())
    stack.enter_context(writing(parts.folder.path))
    parts.folder.prepare(config)
    going = iterations(task, Run(config, parts.folder, parts.facts, quiet=True), accelerator, signals)
    started = Started(name, task, going, accelerator, stream)
    started.go_on()
    return started


def _in_turns(runs: Sequence[Started], *, length: int | None, limit: float | None, along: Callable[[int, bool], None]) -> int:
    """Train runs iteration by iteration in turns until all have ended; return the images seen.

    Args:
        runs: the runs.
        length: images at which all end; None: their own length, or the limit.
        limit: reading of ``time.perf_counter`` by which all runs must be scored and saved.
        along: called with the images seen, and whether all runs have a new score.

    """
    task = runs[0].task
    reserve, stopped, rounds = 0.0, None, 0
    if limit is not None:
        reserve = len(runs) * (1.2 * _scoring_seconds(runs[0]) + ENDING)
    while going := [run for run in runs if not run.ended]:
        rounds += 1
        behind = min(run.images for run in going)
        turn = [run for run in going if run.images == behind]  # runs that resumed from an earlier checkpoint than others train first
        level = len(turn) == len(going)
        scored = level and due(behind - task.images_per_iteration, behind, task.evaluate_every)
        end = length is not None and behind >= length
        if rounds % QUEUED == 0 or scored:
            synchronise(task.device)
            # the score that is due is the last one if no time is left for another
            end = end or (limit is not None and level and time.perf_counter() + (2 if scored else 1) * reserve > limit)
        for run in turn:
            try:
                run.go_on(end=end)
            except StoppedBySignalError as signal:
                stopped = signal
        if scored or (rounds % SPOKEN == 0 and level):
            along(behind, scored)
    if stopped is not None:
        raise stopped
    return min(run.images for run in runs)


def _scoring_seconds(run: Started) -> float:
    """Return the seconds of a score; statistics that all runs share are computed before."""
    scorer, generator = run.task.scorer, run.task.players["generator"].tested
    assert scorer is not None
    seconds = []
    with torch.cuda.stream(run.stream):
        for _ in range(2):
            synchronise(run.task.device)
            start = time.perf_counter()
            scorer(generator, 0)
            seconds.append(time.perf_counter() - start)
    return min(seconds)


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
