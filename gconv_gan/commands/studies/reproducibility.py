"""Test of reproducibility: a killed and resumed run against an uninterrupted one, and several processes against one.

Every run is a command under Accelerate's launcher, on the CPU, killed by SIGKILL with all its processes.
"""

import contextlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import psutil
import torch
import tyro
from pydantic import NonNegativeInt, PositiveInt
from safetensors.torch import load_file

from gconv_gan.config.base import Config
from gconv_gan.config.errors import UserError
from gconv_gan.config.load import load_config, parse_command, read_file
from gconv_gan.config.sections.classifiers import ClassifierRunConfig
from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.runtime.tracking import read_metrics
from gconv_gan.training.checkpoint import HASHES


@dataclass(frozen=True)
class Task:
    """Properties of all runs of one kind of config.

    Attributes:
        script: the file beside the package that trains them.
        networks: names of their networks in a checkpoint; "ema" is absent without an average.
        loss: name of the loss curve to compare.
        samples: whether they write sample grids.

    """

    script: str
    networks: tuple[str, ...]
    loss: str
    samples: bool


GAN = Task("train_gan.py", ("generator", "discriminator", "ema"), "loss_d", samples=True)
CLASSIFIER = Task("train_classifier.py", ("classifier", "ema"), "loss", samples=False)


class ReproducibilityCommand(Config):
    """Train a config uninterrupted and with kills, with one process and with several, and compare the run folders."""

    config: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CONFIG")]
    """The config of a GAN or a classifier."""
    total_images: PositiveInt = 6_400
    """Length of each run."""
    checkpoint_every: PositiveInt = 640
    """Images between checkpoints; with few, more kills happen while a checkpoint is written."""
    kills: NonNegativeInt = 10
    """Number of kills of an interrupted run, at random times of training."""
    num_processes: tuple[PositiveInt, ...] = (1, 2)
    """Numbers of processes to compare."""
    runs_dir: str = "runs/reproducibility"
    """Folder of the runs; it must be empty or absent."""
    seed: NonNegativeInt = 0
    """Seed of the times of the kills."""


def kill_tree(pid: int) -> None:
    """Send SIGKILL to a process and all its descendants: the launcher's workers are in other sessions and continue after its end."""
    parent = psutil.Process(pid)
    family = [parent, *parent.children(recursive=True)]
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(family[1:])


@dataclass(frozen=True)
class RunCommand:
    """One run, started by Accelerate's launcher as a subprocess."""

    task: Task
    config: Path
    name: str
    processes: int
    runs_dir: Path
    total_images: int
    checkpoint_every: int

    @property
    def folder(self) -> Path:
        """Return the run folder."""
        return self.runs_dir / self.name

    def start(self) -> "subprocess.Popen[bytes]":
        """Start the run, with its output in ``runs_dir/NAME.txt``, and return its process."""
        launcher = [sys.executable, "-m", "accelerate.commands.launch", "--num_machines", "1", "--mixed_precision", "no"]
        launcher += ["--dynamo_backend", "no", "--num_processes", str(self.processes), "--main_process_port", "0"]
        if self.processes > 1:
            launcher.append("--multi_gpu")  # on CPUs too: with --cpu the launcher starts one process, even if several are requested
        # one line per iteration: the times of the kills are given in images seen
        length = ["--trainer.total-images", str(self.total_images), "--trainer.checkpoint-every", str(self.checkpoint_every)]
        length += ["--trainer.log-every", "1", "--name", self.name]
        if self.task.samples:
            length += ["--trainer.sample-every", str(self.total_images)]
        script = Path(__file__).parents[3] / self.task.script
        with (self.runs_dir / f"{self.name}.txt").open("ab") as output:
            return subprocess.Popen(
                [*launcher, str(script), str(self.config), "--runs-dir", str(self.runs_dir), *length],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
            )

    def images_seen(self) -> int:
        """Return the number of images seen according to the training log."""
        return max((int(record["images"]) for record in read_metrics(self.folder / "metrics.jsonl")), default=0)

    def finish(self) -> None:
        """Run to the end; raise ``UserError`` naming the file of its output if it fails."""
        code = self.start().wait()
        if code:
            raise UserError(f"{self.name} ended with exit code {code}; its output is in {self.runs_dir / self.name}.txt")

    def kill_at(self, images: int, delay: float) -> int:
        """Start the run, kill every process of it ``delay`` seconds after it has seen ``images``; return the images it had seen."""
        process = self.start()
        while process.poll() is None and self.images_seen() < images:
            time.sleep(0.01)
        time.sleep(delay)
        seen = self.images_seen()
        kill_tree(process.pid)
        process.wait()
        return seen

    @property
    def last(self) -> Path:
        """Return the last checkpoint."""
        return self.folder / f"checkpoint-{self.total_images}"

    def network(self, name: str) -> Path:
        """Return the file of a network in the last checkpoint."""
        return self.last / f"{name}.safetensors"

    def hashes(self) -> str:
        """Return the SHA-256 of every file of the last checkpoint."""
        return (self.last / HASHES).read_text()


def main(arguments: Sequence[str]) -> None:
    """Print the comparisons and their results; raise ``UserError`` if bits differ."""
    command = parse_command(ReproducibilityCommand, arguments)
    report(command)


def report(command: ReproducibilityCommand) -> None:
    """Run all comparisons of ``command`` and print a line for each."""
    if "test_data" in read_file(Path(command.config)):
        task, step = CLASSIFIER, load_config(ClassifierRunConfig, command.config).trainer.batch_size
    else:
        task, step = GAN, load_config(GANRunConfig, command.config).trainer.images_per_iteration
    total = -(-command.total_images // step) * step
    folder = Path(command.runs_dir).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise UserError(f"{folder} is not empty: give another --runs-dir, or delete it")
    moments = random.Random(command.seed)
    unbroken: dict[int, RunCommand] = {}
    differing = []
    for processes in command.num_processes:
        runs = [
            RunCommand(task, Path(command.config), f"{name}-{processes}", processes, folder, total, command.checkpoint_every)
            for name in ("unbroken", "killed")
        ]
        unbroken[processes] = runs[0]
        runs[0].finish()
        kills = [runs[1].kill_at(at, moments.uniform(0, 0.2)) for at in sorted(moments.sample(range(step, total - step), command.kills))]
        runs[1].finish()
        same = runs[0].hashes() == runs[1].hashes()
        print(f"{processes} process(es), {total} images, killed {len(kills)} times after {', '.join(map(str, kills))} images")
        print(f"  every file of the last checkpoint equal to the uninterrupted run's: {'yes' if same else 'NO'}")
        if not same:
            differing.append(processes)
    first, *others = command.num_processes
    for other in others:
        apart = distance(unbroken[first], unbroken[other])
        print(f"{first} against {other} processes, uninterrupted: largest relative difference of a network's weights {apart.weights:.1e},")
        print(f"  largest difference of the curve of {task.loss} {apart.loss:.1e}")
    if differing:
        raise UserError(f"killed runs of {differing} process(es) differ from the uninterrupted runs; see {folder}")


@dataclass(frozen=True)
class Distance:
    """Differences between two runs."""

    weights: float
    """The largest relative difference of a network, all its tensors as one vector.

    Not per tensor: the gradient of a bias before a BatchNorm is rounding alone, which Adam scales to steps of full length.
    """
    loss: float
    """The largest difference of the loss curve."""


def distance(one: RunCommand, other: RunCommand) -> Distance:
    """Return the differences between the last checkpoints and the loss curves of two runs."""
    weights = max(
        float((ours - theirs).norm() / ours.norm())
        for name in one.task.networks
        if one.network(name).is_file()
        for ours, theirs in [[_vector(run.network(name)) for run in (one, other)]]
    )
    curves = [
        {record["images"]: record[run.task.loss] for record in read_metrics(run.folder / "metrics.jsonl") if run.task.loss in record}
        for run in (one, other)
    ]
    return Distance(weights, max(abs(value - curves[1][images]) for images, value in curves[0].items()))


def _vector(file: Path) -> torch.Tensor:
    tensors = load_file(file)
    return torch.cat([tensors[name].double().flatten() for name in sorted(tensors) if tensors[name].is_floating_point()])
