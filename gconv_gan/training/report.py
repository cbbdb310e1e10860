"""Output of a run during training: status lines with a legend, a progress bar on a terminal, and the same numbers to the trackers."""

import errno
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from tqdm import tqdm

from gconv_gan.methods.method import Method
from gconv_gan.runtime.files.atomic import write_bytes
from gconv_gan.runtime.files.full_disk import writing
from gconv_gan.runtime.memory import peak_memory, reset_peak_memory
from gconv_gan.runtime.tracking import log_picture

LABELS = {
    "loss": "loss",
    "accuracy": "acc",
    "loss_d": "D",
    "loss_g": "G",
    "accuracy_real": "acc real",
    "accuracy_fake": "fake",
    "overfitting": "r_v",
    "penalty": "penalty",
    "consistency": "consistency",
    "lecam": "LeCam",
    "augment_p": "p",
    "grad_norm": "|grad|",
    "grad_norm_d": "|grad D|",
    "grad_norm_g": "|grad G|",
    "gate_entropy": "gate H",
    "effective_learning_rate": "ELR",
    "effective_learning_rate_min": "from",
    "effective_learning_rate_max": "to",
    "angular_update": "angle",
    "effective_learning_rate_d": "ELR D",
    "effective_learning_rate_min_d": "from",
    "effective_learning_rate_max_d": "to",
    "angular_update_d": "angle D",
    "effective_learning_rate_g": "ELR G",
    "effective_learning_rate_min_g": "from",
    "effective_learning_rate_max_g": "to",
    "angular_update_g": "angle G",
}


LEGEND = {
    "kimg": "thousands of real images seen",
    "s/kimg": "seconds of training for a thousand of them",
    "left": "hours:minutes:seconds to the end, scores and checkpoints included",
    "loss": "cross-entropy",
    "acc": "share of training images classified correctly",
    "D": "discriminator's loss",
    "G": "generator's loss",
    "acc real": "share of real images that the discriminator takes for real",
    "fake": "share of generated images that it takes for generated",
    "r_v": "overfitting of the discriminator: 0 if images that are not trained on count as real, 1 if they count as generated",
    "penalty": "penalty on the discriminator's gradient, before the factor of lazy regularisation",
    "consistency": "consistency regularisation",
    "LeCam": "LeCam regularisation",
    "p": "probability of the augmentation",
    "|grad|": "norm of the gradient before clipping",
    "|grad D|": "of the discriminator",
    "|grad G|": "of the generator",
    "gate H": "entropy of the kernel gates, 1: all kernels alike",
    "GiB": "largest memory in use",
}
"""Meaning of the words of a status line; other labels are those of training methods, which docs/methods.md explains."""


def clock(seconds: float) -> str:
    """Return a duration as hours:minutes:seconds: 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def short(number: float) -> str:
    """Return a number with three decimals, or with two digits where it is below 0.01: 0.123, 4.5e-05."""
    return f"{number:.3f}" if number == 0 or abs(number) >= 0.01 else f"{number:.1e}"


class Means:
    """Means of named statistics since the last read, accumulated on the device.

    Statistics that are added together form one vector with the count as last entry: one addition per step, at a fixed address.
    """

    def __init__(self) -> None:
        self._sums: dict[tuple[str, ...], Tensor] = {}
        self._one: Tensor | None = None

    @torch.no_grad()
    def add(self, statistics: Mapping[str, Tensor]) -> None:
        """Add one step's detached scalars []."""
        names = tuple(statistics)
        values = [value.float() for value in statistics.values()]
        if self._one is None:
            self._one = torch.ones((), device=values[0].device)
        step = torch.stack([*values, self._one])
        if names not in self._sums:
            self._sums[names] = torch.zeros_like(step)
        self._sums[names].add_(step)

    def tensors(self) -> Iterator[Tensor]:
        """Yield every tensor that ``add`` changes."""
        yield from self._sums.values()

    def read(self, accelerator: Accelerator) -> dict[str, float]:
        """Return the mean of each statistic over steps and processes, and reset the sums. Collective; waits for the device."""
        if not self._sums:
            return {}
        sums = accelerator.reduce(torch.cat(list(self._sums.values())), reduction="sum").tolist()
        totals: dict[str, float] = {}
        counts: dict[str, float] = {}
        for names, vector in self._sums.items():
            values, sums = sums[: len(vector)], sums[len(vector) :]
            vector.zero_()
            for name, value in zip(names, values[:-1], strict=True):
                totals[name] = totals.get(name, 0.0) + value
                counts[name] = counts.get(name, 0.0) + values[-1]
        return {name: totals[name] / counts[name] for name in sorted(totals) if counts[name]}


class Report:
    """Status lines, on a terminal a bar, and the same numbers to the trackers.

    Work within ``paused`` (samples, gates, scores, checkpoints) does not count in the speed or the peak memory.
    """

    def __init__(self, accelerator: Accelerator, log_file: Path, *, total_images: int, quiet: bool = False) -> None:
        self._accelerator, self._log_file, self._total = accelerator, log_file, total_images
        self._started = time.perf_counter()
        self._quiet = quiet
        self._peak_memory = 0
        self._since_images = 0
        self._bar: tqdm[None] | None = None
        self._begun: tuple[int, float] | None = None
        self._explained = False
        self.history: list[Mapping[str, Any]] = []
        """The lines of metrics.jsonl: those of a resumed run, which the caller adds, and those of this process."""

    def start(self, images_seen: int) -> None:
        """Begin counting at ``images_seen``; show a progress bar if standard error is a terminal."""
        self._since_images, self._started = images_seen, time.perf_counter()
        self._begun = images_seen, time.perf_counter()
        reset_peak_memory(self._accelerator.device)
        if self._accelerator.is_main_process and sys.stderr.isatty() and not self._quiet:
            self._bar = tqdm(total=self._total, initial=images_seen, unit="img", unit_scale=True, dynamic_ncols=True)

    def advance(self, images: int) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.update(images)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Exclude time and memory of the body from speed and peak memory. Waits first until the device has finished training."""
        if self._accelerator.device.type == "cuda":
            torch.cuda.synchronize(self._accelerator.device)
        before = time.perf_counter()
        self._peak_memory = max(self._peak_memory, peak_memory(self._accelerator.device))
        try:
            yield
        finally:
            reset_peak_memory(self._accelerator.device)
            self._started += time.perf_counter() - before

    def line(self, images_seen: int, means: Mapping[str, float]) -> dict[str, float]:
        """Write one status line, send its numbers to the trackers, and return them."""
        seconds = time.perf_counter() - self._started
        self._peak_memory = max(self._peak_memory, peak_memory(self._accelerator.device))
        numbers = {
            **means,
            "seconds_per_kimg": 1000 * seconds / max(1, images_seen - self._since_images),
            "peak_memory_gib": self._peak_memory / 2**30,
        }
        self.log(numbers, images_seen)
        facts = "  ".join(f"{label} {short(numbers[name])}" for name, label in LABELS.items() if name in numbers)
        line = (
            f"{images_seen / 1000:9.1f} kimg  {numbers['seconds_per_kimg']:7.2f} s/kimg  {self._left(images_seen)}{facts}  "
            f"{numbers['peak_memory_gib']:.2f} GiB"
        )
        self._explain(line)
        self.say(line)
        self._since_images, self._started = images_seen, time.perf_counter()
        return numbers

    def _left(self, images_seen: int) -> str:
        """Return the time that is left if images take what they took on average since the start, with all that was between them."""
        if self._begun is None or images_seen <= self._begun[0] or images_seen >= self._total:
            return ""
        images, started = self._begun
        return f"{clock((time.perf_counter() - started) / (images_seen - images) * (self._total - images_seen))} left  "

    def _explain(self, line: str) -> None:
        """Write the meaning of the words of a status line into ``log.txt``, before the first one."""
        if self._explained:
            return
        self._explained = True
        words = {word for cell in line.split("  ") for word in (cell.strip().rpartition(" ")[0], cell.strip().rpartition(" ")[2])}
        self._write("legend: " + "; ".join(f"{word}: {meaning}" for word, meaning in LEGEND.items() if word in words))

    def _write(self, text: str) -> None:
        if self._accelerator.is_main_process:
            with writing(self._log_file), self._log_file.open("a") as file:
                file.write(text + "\n")

    def say(self, text: str) -> None:
        """Append a line to ``log.txt`` on the main process, and print it unless the report is quiet."""
        self._write(text)
        if self._quiet or not self._accelerator.is_main_process:
            return
        noticed = callable(signal.getsignal(signal.SIGPIPE))
        try:
            tqdm.write(text, file=sys.stdout)
            sys.stdout.flush()
        except OSError as error:
            # The reader or the terminal has exited, and a signal was sent: the loop saves and ends.
            if not (error.errno == errno.EIO or (error.errno == errno.EPIPE and noticed)):
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def log(self, values: dict[str, Any], images_seen: int) -> None:
        """Send numbers to the trackers."""
        self.history.append({"images": images_seen, **values})
        self._accelerator.log(values, step=images_seen)

    def picture(self, path: Path, images_seen: int) -> None:
        """Send a picture file to the trackers that take pictures, on the main process."""
        log_picture(self._accelerator.trackers, path, images_seen)

    def close(self) -> None:
        """Remove the progress bar."""
        if self._bar is not None:
            self._bar.close()


def write_method_files(methods: Sequence[Method], folder: Path) -> None:
    """Write what methods found into ``folder / KIND``; "KIND-2" is the second method of a kind."""
    kinds = Counter[str]()
    for method in methods:
        if method.section is None:
            continue
        kinds[method.section.kind] += 1
        count = kinds[method.section.kind]
        own = folder / (method.section.kind if count == 1 else f"{method.section.kind}-{count}")
        for name, content in method.files().items():
            own.mkdir(parents=True, exist_ok=True)
            write_bytes(own / name, content)
