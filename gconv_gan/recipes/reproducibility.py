"""Does a run that is killed end with the bits of one that is not, and do two processes train what one trains?

Every run is a real command under Accelerate's launcher, killed by SIGKILL with all its processes.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro
from pydantic import NonNegativeInt, PositiveInt
from safetensors.torch import load_file

from gconv_gan.config.base import Config
from gconv_gan.config.errors import UserError
from gconv_gan.config.load import load_config, parse_command
from gconv_gan.config.runs import GANRunConfig
from gconv_gan.runtime.tracking import read_metrics
from gconv_gan.training.checkpoint import HASHES

SCRIPT = Path(__file__).parents[2] / "train_gan.py"


class ReproducibilityCommand(Config):
    """Train the same run unbroken and killed, by one process and by several, and compare what they leave."""

    config: Annotated[str, tyro.conf.Positional]
    """A GAN config; short runs answer the question as well as long ones."""
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


@dataclass(frozen=True)
class RunCommand:
    """One run as a user would start it."""

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
        """Start it in a process group of its own, its output in ``runs_dir/NAME.txt``."""
        launcher = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_machines", "1", "--mixed_precision", "no"]
        launcher += ["--dynamo_backend", "no", "--num_processes", str(self.processes), "--main_process_port", "0"]
        # a whole iteration a line: the moments of the kills are told by the images seen
        length = ["--trainer.total-images", str(self.total_images), "--trainer.checkpoint-every", str(self.checkpoint_every)]
        length += ["--trainer.log-every", "1", "--trainer.sample-every", str(self.total_images), "--name", self.name]
        output = (self.runs_dir / f"{self.name}.txt").open("ab")
        return subprocess.Popen(
            [*launcher, str(SCRIPT), str(self.config), "--runs-dir", str(self.runs_dir), *length],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def images_seen(self) -> int:
        """Return how far the run has come by its own records."""
        try:
            return max((int(record["images"]) for record in read_metrics(self.folder / "metrics.jsonl")), default=0)
        except ValueError:  # a line is being written
            return 0

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
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return seen

    def hashes(self) -> str:
        """Return the SHA-256 of every file of the last checkpoint."""
        return (self.folder / f"checkpoint-{self.total_images}" / HASHES).read_text()


def main(arguments: Sequence[str]) -> None:
    """Print what was compared and what came out; raise ``UserError`` where bits differ."""
    command = parse_command(ReproducibilityCommand, arguments)
    report(command)


def report(command: ReproducibilityCommand) -> None:
    """Run everything that ``command`` asks for and print a line for each comparison."""
    config = load_config(GANRunConfig, command.config)
    step = config.trainer.images_per_iteration
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
            RunCommand(Path(command.config), f"{name}-{processes}", processes, folder, total, command.checkpoint_every)
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
        print(f"{first} against {other} processes, unbroken: {distance(unbroken[first], unbroken[other])}")
    if differing:
        raise UserError(f"killed runs of {differing} process(es) ended with other bits; see {folder}")


def distance(one: RunCommand, other: RunCommand) -> str:
    """Return how far two runs lie apart: the largest relative difference of a weight tensor, and of a value of the loss curve."""
    weights = max(
        float((ours - theirs).norm() / ours.norm().clamp_min(torch.finfo(torch.float32).tiny))
        for name in ("generator", "discriminator", "ema")
        for ours, theirs in _pairs(one, other, f"{name}.safetensors")
    )
    curves = [
        {record["images"]: record["loss_d"] for record in read_metrics(run.folder / "metrics.jsonl") if "loss_d" in record}
        for run in (one, other)
    ]
    loss = max(abs(value - curves[1][images]) for images, value in curves[0].items())
    return f"largest relative difference of a weight tensor {weights:.1e}, largest difference of the discriminator's loss {loss:.1e}"


def _pairs(one: RunCommand, other: RunCommand, file: str) -> list[tuple[torch.Tensor, torch.Tensor]]:
    ours, theirs = (load_file(run.folder / f"checkpoint-{run.total_images}" / file) for run in (one, other))
    return [(ours[name].double(), theirs[name].double()) for name in ours if ours[name].is_floating_point()]
