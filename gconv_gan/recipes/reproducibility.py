"""Does a run that is killed end with the bits of one that is not, and do two processes train what one trains?

Every run is a real command under Accelerate's launcher, on the CPU, killed by SIGKILL with all its processes.
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
from gconv_gan.config.classifiers import ClassifierRunConfig
from gconv_gan.config.errors import UserError
from gconv_gan.config.load import load_config, parse_command, read_file
from gconv_gan.config.runs import GANRunConfig
from gconv_gan.runtime.tracking import read_metrics
from gconv_gan.training.checkpoint import HASHES


@dataclass(frozen=True)
class Task:
    """What runs of one kind of config have in common.

    Attributes:
        script: the file, beside the package, that trains them.
        networks: names of their networks in a checkpoint; without an average there is no "ema".
        loss: name of the loss curve to compare.
        samples: whether they draw sample grids.

    """

    script: str
    networks: tuple[str, ...]
    loss: str
    samples: bool


GAN = Task("train_gan.py", ("generator", "discriminator", "ema"), "loss_d", samples=True)
CLASSIFIER = Task("train_classifier.py", ("classifier", "ema"), "loss", samples=False)


class ReproducibilityCommand(Config):
    """Train the same run unbroken and killed, by one process and by several, and compare what they leave."""

    config: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CONFIG")]
    """The config of a GAN or a classifier; short runs answer the question as well as long ones."""
    total_images: PositiveInt = 6_400
    """Length of each run."""
    checkpoint_every: PositiveInt = 640
    """Images between checkpoints: the fewer, the likelier a kill lands while one is written."""
    kills: NonNegativeInt = 10
    """How often the broken runs are killed, at random moments of the training."""
    num_processes: tuple[PositiveInt, ...] = (1, 2)
    """Numbers of processes to try."""
    runs_dir: str = "runs/reproducibility"
    """Where the runs go; it must be empty or absent."""
    seed: NonNegativeInt = 0
    """Seed of the moments."""


def kill_tree(pid: int) -> None:
    """Send SIGKILL to a process and all its descendants: the launcher's workers have sessions of their own and outlive it."""
    parent = psutil.Process(pid)
    family = [parent, *parent.children(recursive=True)]
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(family[1:])


@dataclass(frozen=True)
class RunCommand:
    """One run as a user would start it."""

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
        """Start it, its output in ``runs_dir/NAME.txt``."""
        launcher = [sys.executable, "-m", "accelerate.commands.launch", "--num_machines", "1", "--mixed_precision", "no"]
        launcher += ["--dynamo_backend", "no", "--num_processes", str(self.processes), "--main_process_port", "0"]
        if self.processes > 1:
            launcher.append("--multi_gpu")  # on CPUs too: with --cpu the launcher starts one process, whatever its number
        # a whole iteration a line: the moments of the kills are told by the images seen
        length = ["--trainer.total-images", str(self.total_images), "--trainer.checkpoint-every", str(self.checkpoint_every)]
        length += ["--trainer.log-every", "1", "--name", self.name]
        if self.task.samples:
            length += ["--trainer.sample-every", str(self.total_images)]
        script = Path(__file__).parents[2] / self.task.script
        with (self.runs_dir / f"{self.name}.txt").open("ab") as output:
            return subprocess.Popen(
                [*launcher, str(script), str(self.config), "--runs-dir", str(self.runs_dir), *length],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
            )

    def images_seen(self) -> int:
        """Return how far the run has come by its own records."""
        return max((int(record["images"]) for record in read_metrics(self.folder / "metrics.jsonl")), default=0)

    def finish(self) -> None:
        """Run to the end; raise ``UserError`` with where its output lies if it fails."""
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
    """Print what was compared and what came out; raise ``UserError`` where bits differ."""
    command = parse_command(ReproducibilityCommand, arguments)
    report(command)


def report(command: ReproducibilityCommand) -> None:
    """Run everything that ``command`` asks for and print a line for each comparison."""
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
        print(f"  every file of the last checkpoint equal to the unbroken run's: {'yes' if same else 'NO'}")
        if not same:
            differing.append(processes)
    first, *others = command.num_processes
    for other in others:
        apart = distance(unbroken[first], unbroken[other])
        print(f"{first} against {other} processes, unbroken: largest relative difference of a network's weights {apart.weights:.1e},")
        print(f"  largest difference of the curve of {task.loss} {apart.loss:.1e}")
    if differing:
        raise UserError(f"killed runs of {differing} process(es) ended with other bits; see {folder}")


@dataclass(frozen=True)
class Distance:
    """How far two runs lie apart."""

    weights: float
    """The largest relative difference of a network, all its tensors as one vector.

    Not tensor by tensor: a bias before a BatchNorm has no gradient but rounding, which Adam turns into steps of full length.
    """
    loss: float
    """The largest difference of the loss curve."""


def distance(one: RunCommand, other: RunCommand) -> Distance:
    """Compare the last checkpoints and the records of two runs."""
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
