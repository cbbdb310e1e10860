"""Check of a GPU in a few minutes: the tests that need a GPU, a record of speed, and an ablation.

Each part is a separate process with a time limit and writes its results as they are computed. A part that fails or is stopped does
not affect the others, and its results up to then are kept.
"""

import importlib.util
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import PositiveFloat, PositiveInt

from gconv_gan.commands.cost.record import record_path
from gconv_gan.config.base import Config
from gconv_gan.config.load import parse_command

TESTS = "tests/training/test_gpu.py"
TESTS_SECONDS = 115.0
SPEED_SECONDS = {"tf32": 75.0, "bf16": 45.0, "fp32": 25.0}
WORKERS = 4  # processes of the tests: a tiny run is limited by the host
SPARE = 12.0
"""Seconds between the end of the ablation and the end of the check."""
RUN = "import sys; from gconv_gan.runtime.script import run_command; module = sys.argv.pop(1); run_command(module)"


class GPUCheckCommand(Config):
    """Run the tests for a GPU, measure a record of speed, and run an ablation in the time that is left."""

    data_path: str = "data/cifar10"
    """CIFAR-10's pictures as files, train/CLASS/NAME."""
    out: str = "eval/speed/records"
    """Folder of the results."""
    seconds: PositiveFloat = 470.0
    """Time limit of the whole check in seconds."""
    seeds: str = "5"
    """Seeds of the ablation, as gconv-gan ablate takes them."""
    only: Literal["tests", "speed", "ablation"] | None = None
    """A single part."""
    cache_dir: str = "cache"
    """Folder of converted data."""
    runs_dir: str = "runs/gpu_check"
    """Folder of the ablation's runs."""
    ablation: str = "configs/ablate/gconv_cifar10.toml"
    """Config of the ablation."""
    images: PositiveInt | None = None
    """Length of a run of the ablation in images; None: limited by the time."""
    tiny: bool = False
    """Tiny networks, to try the script on a CPU."""


@dataclass(frozen=True)
class Part:
    """A command and its time limit in seconds; its output goes to the terminal and to a file."""

    name: str
    command: list[str]
    limit: float


def main(arguments: Sequence[str]) -> None:
    """Run the tests, the record and the ablation, in ``--seconds`` in total."""
    command = parse_command(GPUCheckCommand, arguments)
    out = Path(command.out)
    begun = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)

    def chosen(part: str) -> bool:
        return command.only in (None, part)

    data = ["--data-path", command.data_path, "--cache-dir", command.cache_dir]
    record = record_path(out)
    conversion = None
    if command.only != "tests":  # while the tests run
        convert = "from gconv_gan.config.sections.data import FolderDataConfig as F; from gconv_gan.data.cache import open_dataset; "
        convert += "import sys; "
        convert += "open_dataset(F(path=sys.argv[1], split='train', cache_dir=sys.argv[2]))"
        conversion = subprocess.Popen([sys.executable, "-c", convert, command.data_path, command.cache_dir])
    if chosen("tests"):
        run(Part("tests", tests(), TESTS_SECONDS), out)
    if conversion is not None:
        conversion.wait()
        print(f"data: {time.perf_counter() - begun:.0f} s after the start", flush=True)
    if chosen("speed"):
        for precision, limit in SPEED_SECONDS.items():
            words = ["gconv_gan.commands.cost.speed_record", "--precision", precision, "--record", str(record), *data]
            words += ["--limit", str(limit - 15), *(["--tiny", "--seconds", "0.1"] if command.tiny else ["--seconds", "0.8"])]
            run(Part(f"speed_{precision}", [sys.executable, "-c", RUN, *words], limit), out)
    if chosen("ablation"):
        left = command.seconds - (time.perf_counter() - begun) - SPARE
        words = ["gconv_gan.commands.ablate", command.ablation, *data, "--seeds", command.seeds, "--runs-dir", command.runs_dir]
        words += ["--json", str(out / "ablation.json"), "--page", str(out / "ablation" / "page")]
        words += ["--hours", f"{max(1.0, left - SPARE) / 3600:.5f}"]
        words += [] if command.images is None else ["--images", str(command.images)]
        run(Part("ablation", [sys.executable, "-c", RUN, *words], left + SPARE), out)
        pack(Path(command.runs_dir), out / "ablation.tar.gz")
    print(f"gpu_check: {time.perf_counter() - begun:.0f} s", flush=True)


def tests() -> list[str]:
    """Return the command of the tests: in several processes if pytest-xdist is installed."""
    several = ["-n", str(WORKERS)] if importlib.util.find_spec("xdist") else []
    return [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-m",
        "gpu",
        "-W",
        "ignore",
        "-p",
        "no:cacheprovider",
        "-rA",
        "--tb=short",
        *several,
        TESTS,
    ]


def run(part: Part, out: Path) -> None:
    """Run a part, print and store its output, and stop it at its time limit."""
    start = time.perf_counter()
    process = subprocess.Popen(
        part.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True, env=os.environ
    )
    assert process.stdout is not None

    def stop() -> None:
        print(f"{part.name}: stopped after {part.limit:.0f} s", flush=True)
        os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(part.limit, stop)
    timer.start()
    try:
        with process.stdout, (out / f"{part.name}.txt").open("w") as file:
            for line in process.stdout:
                print(line, end="", flush=True)
                file.write(line)
                file.flush()
        code = process.wait()
    finally:
        timer.cancel()
    print(f"{part.name}: exit code {code} after {time.perf_counter() - start:.0f} s", flush=True)


def pack(runs: Path, archive: Path) -> None:
    """Write logs and scores of all runs, and the last pictures of the first seed, into a tar file."""
    with tarfile.open(archive, "w:gz") as file:
        for folder in sorted(path for path in runs.glob("*/*") if path.is_dir()):
            kept = [folder / "log.txt", folder / "metrics.jsonl", *sorted((folder / "scores").rglob("*.json"))]
            if "-s0-" in folder.name:
                kept += sorted((folder / "samples").glob("[1-9]*.png"))[-1:]
            for path in kept:
                if path.is_file():
                    file.add(path, path.relative_to(runs))
