"""What a run says while it trains: status lines, a progress bar on a terminal, and the same numbers to the trackers."""

import resource
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

    The sums stay in the same tensors for good, so that a captured iteration adds to what ``line`` reads.

    Time spent in ``paused`` (samples, scores, checkpoints) is left out of the speed.
    """

    def __init__(self, accelerator: Accelerator, log_file: Path, *, total_images: int) -> None:
        self._accelerator, self._log_file, self._total = accelerator, log_file, total_images
        self._sums: dict[tuple[str, ...], Tensor] = {}
        self._one = torch.ones((), device=accelerator.device)
        self._started = time.perf_counter()
        self._since_images = 0
        self._bar: tqdm[None] | None = None

    def start(self, images_seen: int) -> None:
        """Begin counting at ``images_seen``; show a bar if a person is watching."""
        self._since_images, self._started = images_seen, time.perf_counter()
        if self._accelerator.is_main_process and sys.stderr.isatty():
            self._bar = tqdm(total=self._total, initial=images_seen, unit="img", unit_scale=True, dynamic_ncols=True)

    def add(self, statistics: dict[str, Tensor]) -> None:
        """Add one step's detached scalars to the means: on the device, in a vector for each set of names, the number of steps last."""
        names = tuple(statistics)
        values = torch.stack([*statistics.values(), self._one])
        if names not in self._sums:
            self._sums[names] = torch.zeros_like(values)
        self._sums[names].add_(values)

    def advance(self, images: int) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.update(images)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the time spent inside out of the speed."""
        before = time.perf_counter()
        try:
            yield
        finally:
            self._started += time.perf_counter() - before

    def line(self, images_seen: int, **extra: float) -> dict[str, float]:
        """Write one status line, send its numbers to the trackers, and start new means. Collective: every process calls it."""
        means = self._means()
        seconds = time.perf_counter() - self._started
        numbers = {
            **means,
            **extra,
            "seconds_per_kimg": 1000 * seconds / max(1, images_seen - self._since_images),
            "peak_memory_gib": peak_memory_gib(self._accelerator.device),
        }
        self._accelerator.log(numbers, step=images_seen)
        facts = "  ".join(f"{label} {numbers[name]:.3f}" for name, label in LABELS.items() if name in numbers)
        self.say(
            f"{images_seen / 1000:9.1f} kimg  {numbers['seconds_per_kimg']:7.2f} s/kimg  {facts}  {numbers['peak_memory_gib']:.2f} GiB"
        )
        self._since_images, self._started = images_seen, time.perf_counter()
        return numbers

    def _means(self) -> dict[str, float]:
        """Return the means over all steps and processes of what was added since the last time, and start anew."""
        if not self._sums:
            return {}
        everything = torch.cat([sums.float() for sums in self._sums.values()])
        numbers = iter(self._accelerator.reduce(everything, reduction="mean").tolist())
        totals: dict[str, float] = {}
        steps: dict[str, float] = {}
        for names, sums in self._sums.items():
            *values, count = (next(numbers) for _ in range(len(names) + 1))
            for name, value in zip(names, values, strict=True):
                totals[name] = totals.get(name, 0.0) + value
                steps[name] = steps.get(name, 0.0) + count
            sums.zero_()
        return {name: totals[name] / steps[name] for name in sorted(totals) if steps[name]}

    def say(self, text: str) -> None:
        """Print a line once, on the main process, and keep it in ``log.txt``."""
        if not self._accelerator.is_main_process:
            return
        with self._log_file.open("a") as file:
            file.write(text + "\n")
        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()

    def log(self, values: dict[str, Any], images_seen: int) -> None:
        """Send numbers that have no place in the status line to the trackers."""
        self._accelerator.log(values, step=images_seen)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()


def peak_memory_gib(device: torch.device) -> float:
    """Return the peak memory in GiB: of the device's allocator, or of the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
