"""What a run says while it trains: status lines, a progress bar on a terminal, and the same numbers to the trackers."""

import errno
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from tqdm import tqdm

from gconv_gan.runtime.full_disk import writing
from gconv_gan.runtime.memory import peak_memory, reset_peak_memory

LABELS = {
    "loss": "loss",
    "accuracy": "acc",
    "loss_d": "D",
    "loss_g": "G",
    "accuracy_real": "acc real",
    "accuracy_fake": "fake",
    "penalty": "penalty",
    "consistency": "consistency",
    "lecam": "LeCam",
    "augment_p": "p",
    "grad_norm": "|grad|",
    "grad_norm_d": "|grad D|",
    "grad_norm_g": "|grad G|",
    "gate_entropy": "gate H",
}


class Report:
    """Means of the steps' statistics since the last line. Nothing is read from the device between lines.

    What is done in ``paused`` (samples, gates, scores, checkpoints) is left out of the speed and of the peak memory.
    """

    def __init__(self, accelerator: Accelerator, log_file: Path, *, total_images: int) -> None:
        self._accelerator, self._log_file, self._total = accelerator, log_file, total_images
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._started = time.perf_counter()
        self._peak_memory = 0
        self._since_images = 0
        self._bar: tqdm[None] | None = None

    def start(self, images_seen: int) -> None:
        """Begin counting at ``images_seen``; show a bar if a person is watching."""
        self._since_images, self._started = images_seen, time.perf_counter()
        reset_peak_memory(self._accelerator.device)
        if self._accelerator.is_main_process and sys.stderr.isatty():
            self._bar = tqdm(total=self._total, initial=images_seen, unit="img", unit_scale=True, dynamic_ncols=True)

    def add(self, statistics: dict[str, Tensor]) -> None:
        """Add one step's detached scalars to the means."""
        for name, value in statistics.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1

    def advance(self, images: int) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.update(images)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the time spent inside out of the speed, and its memory out of the peak. The device finishes training first."""
        if self._accelerator.device.type == "cuda":
            torch.cuda.synchronize(self._accelerator.device)
        before = time.perf_counter()
        self._peak_memory = max(self._peak_memory, peak_memory(self._accelerator.device))
        try:
            yield
        finally:
            reset_peak_memory(self._accelerator.device)
            self._started += time.perf_counter() - before

    def line(self, images_seen: int, **extra: float) -> dict[str, float]:
        """Write one status line, send its numbers to the trackers, and start new means. Collective: every process calls it."""
        names = sorted(self._sums)
        means: dict[str, float] = {}
        if names:
            stacked = torch.stack([self._sums[name].float() / self._counts[name] for name in names])
            values = self._accelerator.reduce(stacked, reduction="mean")
            means = dict(zip(names, values.tolist(), strict=True))
        seconds = time.perf_counter() - self._started
        self._peak_memory = max(self._peak_memory, peak_memory(self._accelerator.device))
        numbers = {
            **means,
            **extra,
            "seconds_per_kimg": 1000 * seconds / max(1, images_seen - self._since_images),
            "peak_memory_gib": self._peak_memory / 2**30,
        }
        self._accelerator.log(numbers, step=images_seen)
        facts = "  ".join(f"{label} {numbers[name]:.3f}" for name, label in LABELS.items() if name in numbers)
        self.say(
            f"{images_seen / 1000:9.1f} kimg  {numbers['seconds_per_kimg']:7.2f} s/kimg  {facts}  {numbers['peak_memory_gib']:.2f} GiB"
        )
        self._sums, self._counts = {}, {}
        self._since_images, self._started = images_seen, time.perf_counter()
        return numbers

    def say(self, text: str) -> None:
        """Print a line once, on the main process, and keep it in ``log.txt``."""
        if not self._accelerator.is_main_process:
            return
        with writing(self._log_file), self._log_file.open("a") as file:
            file.write(text + "\n")
        noticed = callable(signal.getsignal(signal.SIGPIPE))
        try:
            tqdm.write(text, file=sys.stdout)
            sys.stdout.flush()
        except OSError as error:
            # The reader or the terminal is gone. A signal came with that, after which the loop saves and ends.
            if not (error.errno == errno.EIO or (error.errno == errno.EPIPE and noticed)):
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def log(self, values: dict[str, Any], images_seen: int) -> None:
        """Send numbers that have no place in the status line to the trackers."""
        self._accelerator.log(values, step=images_seen)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
