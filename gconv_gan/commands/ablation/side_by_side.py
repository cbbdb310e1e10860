"""Runs of one process, GANs and classifiers, trained iteration by iteration in turns.

On a CUDA device every run is a CUDA graph that is replayed on a separate stream, so that several small runs use the device
concurrently. On a CPU each process computes with one thread: the results then do not depend on the number of processes.
"""

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator

from gconv_gan.commands.train import classifier, gan
from gconv_gan.commands.train.accelerator import build_accelerator
from gconv_gan.commands.train.prepared import Prepared
from gconv_gan.config.errors import StoppedBySignalError, UserError
from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.data.cache import open_dataset
from gconv_gan.data.image_dataset import ImageDataset
from gconv_gan.experiments.arms import RunConfig
from gconv_gan.metrics.cost import synchronise
from gconv_gan.runtime.capture import STREAMS, own_stream
from gconv_gan.runtime.device import command_device
from gconv_gan.training.adversarial import Adversarial
from gconv_gan.training.guards import NotFiniteError, noticing_signals
from gconv_gan.training.loop import iterations
from gconv_gan.training.state import due

QUEUED = 16
"""Rounds that are launched before the host waits for the device and reads the clock."""
ENDING = 0.5
"""Reserved seconds for the pictures and the checkpoint at the end of a run."""
SPOKEN = 250
"""Rounds between two progress lines."""
FREE = 1.5
"""The next seed is started if this many times the memory of the last one is free."""

Name = tuple[str, int]
"""Arm and seed."""
Along = Callable[[int, bool], None]
"""Called regularly with the images seen and whether all runs of a group have a new score."""
Agree = Callable[[int], int]
"""Returns the largest of the numbers that the processes of an ablation give."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute with one thread on the CPU."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass
class Started:
    """A run that is being trained."""

    name: Name
    ready: Prepared[Any, Any]
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
                self._end(self.ready.task.progress.images_seen)
                self.ready.save()
            except StoppedBySignalError:
                self._end(self.images)
                raise
            except NotFiniteError as error:
                self._end(self.images)
                print(f"{self.name[0]}, seed {self.name[1]}: {error}", flush=True)

    def _end(self, images: int) -> None:
        self.ended, self.images = True, images
        self.accelerator.end_training()


def side_by_side(runs: Mapping[Name, RunConfig], *, limit: float | None, along: Along, agree: Agree, length: int | None = None) -> int:
    """Train all runs to ``length`` images, to their own length, or until ``limit``; return the images seen by each.

    As many seeds as fit into the device's memory are trained together. With a limit, a reading of ``time.perf_counter``, the first of
    these groups determines the length of all.
    """
    left = dict(runs)
    open_data: dict[str, ImageDataset] = {}  # one for all runs: a device holds its images once
    with noticing_signals() as signals, one_thread():
        while left:
            with ExitStack() as stack:
                together = _started(left, open_data, signals, stack, until=length)
                batches = -(-len(runs) // len(together))
                share = None if limit is None or length is not None else time.perf_counter() + (limit - time.perf_counter()) / batches
                length = _in_turns(together, limit=share, along=along, agree=agree)
            for run in together:
                del left[run.name]
    assert length is not None
    return length


def _started(
    left: Mapping[Name, RunConfig], open_data: dict[str, ImageDataset], signals: list[int], stack: ExitStack, *, until: int | None
) -> list[Started]:
    """Return the started runs: seeds in order, as long as they fit into the device's memory and have a stream each."""
    started: list[Started] = []
    arms = len({arm for arm, _ in left})
    for seed in dict.fromkeys(seed for _, seed in left):
        before = _free_memory()
        for name, config in left.items():
            if name[1] == seed:
                started.append(_start(name, config, open_data, signals, stack, until=until))
        now = _free_memory()
        if now is not None and before is not None and (now < FREE * (before - now) or len(started) + arms > STREAMS):
            break
    return started


def _free_memory() -> int | None:
    if command_device().type != "cuda":
        return None
    torch.cuda.empty_cache()
    return torch.cuda.mem_get_info()[0]


def _start(
    name: Name, config: RunConfig, open_data: dict[str, ImageDataset], signals: list[int], stack: ExitStack, *, until: int | None
) -> Started:
    """Build or resume a run that ends at ``until`` images, and train its first iteration, before which a graph is captured."""
    accelerator = build_accelerator(config)
    stream = own_stream(accelerator.device) if accelerator.device.type == "cuda" else None
    data = config.data.model_dump_json()
    if data not in open_data:
        open_data[data] = open_dataset(config.data)
    ready: Prepared[Any, Any]
    with torch.cuda.stream(stream):
        if isinstance(config, GANRunConfig):
            ready = gan.prepared(config, open_data[data], accelerator, quiet=True)
        else:
            ready = classifier.prepared(config, open_data[data], accelerator, quiet=True)
    stack.enter_context(ready.folder(accelerator))
    started = Started(name, ready, iterations(ready.task, ready.run, accelerator, signals, until=until), accelerator, stream)
    started.go_on()
    return started


def _in_turns(runs: Sequence[Started], *, limit: float | None, along: Along, agree: Agree) -> int:
    """Train runs iteration by iteration in turns until all have ended; return the images seen.

    Args:
        runs: the runs.
        limit: reading of ``time.perf_counter`` by which all runs must be scored and saved.
        along: called with the images seen, and whether all runs have a new score.
        agree: with a limit, the processes agree from the same images on, at the same images, whether the time is over.

    """
    task = runs[0].ready.task
    reserve, stopped, rounds, common = 0.0, None, 0, 0
    if limit is not None:
        reserve = len(runs) * (1.2 * _scoring_seconds(runs[0]) + ENDING)
        common = agree(max(run.images for run in runs))
    while going := [run for run in runs if not run.ended]:
        rounds += 1
        behind = min(run.images for run in going)
        turn = [run for run in going if run.images == behind]  # runs that resumed from an earlier checkpoint than others train first
        level = len(turn) == len(going)
        scored = level and due(behind - task.images_per_iteration, behind, task.evaluate_every)
        end = False
        if scored or due(behind - task.images_per_iteration, behind, QUEUED * task.images_per_iteration):
            synchronise(task.device)
            if limit is not None and level and behind >= common:
                # the score that is due is the last one if no time is left for another
                over = time.perf_counter() + (2 if scored else 1) * reserve > limit
                end = bool(agree(int(over)))
        for run in turn:
            try:
                run.go_on(end=end)
            except StoppedBySignalError as signal:
                stopped = signal
        if scored or (rounds % SPOKEN == 0 and level):
            along(behind, scored)
    if stopped is not None:
        raise stopped
    return max(run.images for run in runs)  # one that diverged ended before


def _scoring_seconds(run: Started) -> float:
    """Return the seconds of a score; statistics that all runs share are computed before."""
    task = run.ready.task
    if not isinstance(task, Adversarial) or task.scorer is None:
        raise UserError("a time limit is for GANs that are scored during training")
    scorer, generator = task.scorer, task.players["generator"].tested
    seconds = []
    with torch.cuda.stream(run.stream):
        for _ in range(2):
            synchronise(task.device)
            start = time.perf_counter()
            scorer(generator, 0)
            seconds.append(time.perf_counter() - start)
    return min(seconds)
