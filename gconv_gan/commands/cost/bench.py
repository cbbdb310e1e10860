"""Benchmark of this package on the present device, part by part, added to its record of speed.

Every comparison calls both programs by turns in one process. On a CPU the time is this process's processor time on one thread, so other
load on the machine hardly affects it, and memory is the exact peak of torch's allocator.
"""

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image
from pydantic import PositiveInt
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from gconv_gan.commands.cost.gpu_check import RUN
from gconv_gan.commands.cost.plain_formulation import plain_pairs, sngan
from gconv_gan.commands.cost.record import (
    D_STEP,
    PLAIN_FORMULATION,
    SpeedRecord,
    bytes_moved,
    exponent,
    floor_ms,
    pairs,
    record_path,
    speed_ratio,
)
from gconv_gan.commands.train.accelerator import build_accelerator
from gconv_gan.commands.train.dry_run.gan_plan import iteration_macs
from gconv_gan.commands.train.dry_run.step_time import noise_task
from gconv_gan.commands.train.gan_checks import check
from gconv_gan.config.base import Config
from gconv_gan.config.errors import UserError
from gconv_gan.config.load import merged, parse_command, validated
from gconv_gan.config.sections.data import FolderDataConfig
from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.data.batches.loaders import BatchSource
from gconv_gan.data.cache import open_dataset
from gconv_gan.metrics.cost import busy_seconds, counts, peak_bytes
from gconv_gan.metrics.extractors.inception import InceptionExtractor
from gconv_gan.metrics.frechet import frechet_distance, symmetric_root
from gconv_gan.metrics.statistics import moments_of
from gconv_gan.runtime.device import command_device
from gconv_gan.training.adversarial import Adversarial

PartName = Literal["step", "layers", "scores", "data", "laws", "predictions"]

VARIANTS: dict[str, tuple[dict[str, Any], int]] = {
    "dictionary / plain": ({"generator": {"conv": {"kind": "gconv", "mode": "dictionary"}}}, 1),
    "bank / plain": ({"generator": {"conv": {"kind": "gconv", "mode": "bank"}}}, 1),
    "ConvNorm in D / spectral norm": ({"discriminator": {"norm": {"kind": "conv_norm"}}}, 1),
    "R1 every 16 / none": ({"objective": {"penalty": {"kind": "r1", "every": 16}}}, 16),
}
"""Name -> changes of the plain run, and the iterations of their period."""

AXES: dict[str, dict[int, dict[str, Any]]] = {
    "batch": {n: {"trainer": {"batch_size": n}} for n in (8, 16, 32, 64)},
    "width": {n: {"generator": {"width": n}, "discriminator": {"width": n}} for n in (32, 64, 128)},
    "resolution, equal width in every block": {
        8: {"data": {"kind": "digits", "size": 8}},
        16: {"data": {"kind": "digits", "size": 16}},
        32: {},
    },
    "resolution, width halved towards the image": {
        n: {"data": {"kind": "celeba", "size": n}, "generator": {"width": 128}, "discriminator": {"width": 128}} for n in (64, 128)
    },
    "kernels of a bank": {n: {"generator": {"conv": {"kind": "gconv", "mode": "bank", "num_kernels": n}}} for n in (2, 4, 8)},
}
"""Axis -> value -> changes of the run of the laws."""

PREDICTED: dict[str, list[str]] = {
    "the digits' preset": [],
    "width 64, batch 64": ["--generator.width", "64", "--discriminator.width", "64", "--trainer.batch-size", "64"],
    "16 px": ["--data.size", "16"],
    "bank, ConvNorm, n_dis 2": [
        *("--generator.conv.mode", "bank", "--discriminator.norm.kind", "conv_norm", "--trainer.n-dis", "2"),
        *("--data.size", "16", "--generator.width", "64"),
    ],
}
"""Name -> changes of the digits' preset whose predictions are compared with a run."""


class BenchCommand(Config):
    """Measure this package against the plain formulation and other tools, and what a run costs; add the results to a record."""

    only: PartName | None = None
    """A single part; None: all of them, one after the other."""
    out: str = "eval/speed/records"
    """Folder of the records."""
    pairs: PositiveInt = 5
    """Pairs of every comparison."""
    config: str = "configs/gan/digits_gconv.toml"
    """Run whose predictions are compared with what it takes."""
    tiny: bool = False
    """Tiny sizes, to try the script."""


def main(arguments: Sequence[str]) -> None:
    """Run the parts of the command line."""
    command = parse_command(BenchCommand, arguments)
    torch.set_num_threads(1)
    bench = Bench(command)
    for name, part in bench.parts().items():
        if command.only in (None, name):
            begun = time.perf_counter()
            part()
            print(f"{name}: {time.perf_counter() - begun:.0f} s", flush=True)
    print(bench.record.file)


class Bench:
    """The parts of the benchmark, on one record."""

    def __init__(self, command: BenchCommand) -> None:
        self.command, self.device = command, command_device()
        self.record = SpeedRecord(record_path(Path(command.out)))
        self.limits = self.record.require_ceilings()

    def parts(self) -> dict[PartName, Callable[[], None]]:
        """Return every part by its name."""
        return {
            "step": self.step,
            "layers": self.layers,
            "scores": self.scores,
            "data": self.data,
            "laws": self.laws,
            "predictions": self.predictions,
        }

    def add(self, part: PartName, name: str, setting: str, taken: Sequence[tuple[float, float]], **others: Any) -> None:
        """Add a comparison to the record and print it."""
        row = speed_ratio(part, name, setting, taken, **others)
        self.record.add("ratios", row, key=("part", "name", "setting"))
        low, high = row.quartiles
        memory = "" if row.memory is None else f", memory ×{row.memory:.2f}"
        print(f"{name:32} {setting:44} {row.median:6.2f} [{low:.2f}, {high:.2f}], {row.milliseconds:.4g} ms{memory}", flush=True)

    def step(self) -> None:
        """Measure the plain formulation of an iteration against ours."""
        cases = ((8, 8, 4),) if self.command.tiny else ((64, 64, 64), (256, 128, 16))
        for generator, discriminator, batch in cases:
            taken = plain_pairs(
                generator_width=generator, discriminator_width=discriminator, batch_size=batch, pairs=self.command.pairs, precision="fp32"
            )
            setting = f"width {generator}/{discriminator}, batch {batch}, n_dis 1, 32 px"
            self.add("step", PLAIN_FORMULATION, setting, taken, **self.floor(generator, discriminator, batch, {}))

    def layers(self) -> None:
        """Measure an iteration with each variant of the networks against the plain one."""
        cases = ((8, 8, 4),) if self.command.tiny else ((64, 64, 32), (256, 128, 8))
        for generator, discriminator, batch in cases:
            for name, (changes, period) in VARIANTS.items():
                plain, varied = (self.iterations(described(generator, discriminator, batch, c), period) for c in ({}, changes))
                memory = peak_bytes(varied, device=self.device) / peak_bytes(plain, device=self.device) if period == 1 else None
                count = self.command.pairs if period == 1 else min(3, self.command.pairs)
                setting = f"width {generator}/{discriminator}, batch {batch}, n_dis 1, 32 px"
                floor = self.floor(generator, discriminator, batch, changes)
                self.add("layers", name, setting, pairs(varied, plain, count=count, device=self.device), memory=memory, **floor)
            changes, _ = VARIANTS["ConvNorm in D / spectral norm"]
            plain, varied = (self.steps_of_d(described(generator, discriminator, batch, c)) for c in ({}, changes))
            setting = f"width {generator}/{discriminator}, batch {batch}, 32 px, with G's pass"
            self.add("layers", D_STEP, setting, pairs(varied, plain, count=self.command.pairs, device=self.device))

    def floor(self, generator: int, discriminator: int, batch: int, changes: dict[str, Any]) -> dict[str, Any]:
        """Return MACs, bytes and the resulting floor of our iteration."""
        config = described(generator, discriminator, batch, changes)
        macs, moved = macs_of(config), bytes_moved(self.iterations(config, 1))
        return {"macs": macs, "bytes_moved": moved, "floor_ms": floor_ms(self.limits, macs=macs, moved=moved)}

    def task_of(self, config: GANRunConfig) -> Adversarial:
        """Return a run on noise images, ready to train."""
        accelerator = build_accelerator(config)
        task = noise_task(config, check(config, accelerator, None), accelerator)
        task.begin(accelerator)
        return task

    def steps_of_d(self, config: GANRunConfig) -> Callable[[], None]:
        """Return the function that runs the discriminator steps of an iteration, without the generator's step and average."""
        task = self.task_of(config)
        task.set_schedules(1.0)
        variant, inputs = task.prepare()
        return lambda: task.discriminator_steps(variant, inputs)

    def iterations(self, config: GANRunConfig, period: int) -> Callable[[], None]:
        """Return the function that runs ``period`` iterations of a run on noise images."""
        task = self.task_of(config)

        def run() -> None:
            for _ in range(period):
                task.set_schedules(1.0)
                task.iterate(*task.prepare())
                task.advance()

        return run

    def scores(self) -> None:
        """Measure Inception's features and the Fréchet distance against torch-fidelity's."""
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        from torch_fidelity.metric_fid import fid_statistics_to_metric

        images = torch.randint(256, (2 if self.command.tiny else 16, 3, 32, 32), dtype=torch.uint8, device=self.device)
        with tempfile.TemporaryDirectory() as folder:
            file = random_inception(Path(folder) / "inception.pth")
            ours = InceptionExtractor(file, expected_sha256=None, device=self.device)
            theirs = FeatureExtractorInceptionV3("inception", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(file))
        theirs = theirs.to(self.device)

        def their_features() -> None:
            with torch.no_grad():
                theirs(images)

        taken = pairs(their_features, lambda: ours(images), count=self.command.pairs, device=self.device)
        self.add("scores", "Inception of torch-fidelity / ours", f"{len(images)} images of 32 px, random weights", taken)
        dim = 64 if self.command.tiny else 2048
        real, fake = (moments_of(torch.randn(2 * dim, dim, dtype=torch.float64) @ torch.diag(torch.rand(dim).double())) for _ in range(2))
        statistics_of = [{"mu": one.mean.numpy(), "sigma": one.covariance.numpy()} for one in (fake, real)]
        root = symmetric_root(real.covariance)
        for given, stored in (("root stored", root), ("moments alone", None)):
            taken = pairs(
                lambda: fid_statistics_to_metric(*statistics_of, False),
                partial(frechet_distance, fake, real, real_root=stored),
                count=min(3, self.command.pairs),
                device=torch.device("cpu"),
            )
            self.add("scores", "Fréchet distance of torch-fidelity / ours", f"{dim} features, float64, {given}", taken)

    def data(self) -> None:
        """Measure a pass over JPEG files by torchvision's reader against one over the converted set."""
        count, batch = (32, 8) if self.command.tiny else (2048, 64)
        with tempfile.TemporaryDirectory() as folder:
            draw = np.random.default_rng(0)
            (Path(folder) / "train" / "one").mkdir(parents=True)
            for index in range(count):
                coarse = Image.fromarray(draw.integers(0, 256, (8, 8, 3), dtype=np.uint8))
                coarse.resize((32, 32), Image.Resampling.BICUBIC).save(Path(folder) / "train" / "one" / f"{index:05d}.jpg", quality=95)
            steps = [transforms.RandomHorizontalFlip(), transforms.ToTensor(), transforms.Normalize(0.5, 0.5)]
            loader = DataLoader(
                datasets.ImageFolder(f"{folder}/train", transforms.Compose(steps)), batch_size=batch, shuffle=True, drop_last=True
            )
            config = FolderDataConfig(path=folder, split="train", size=32, cache_dir=f"{folder}/cache")
            source = BatchSource(open_dataset(config, progress=False), seed=0, flip=True, batch_size=batch)

            def theirs() -> None:
                for images, _ in loader:
                    images.to(self.device)

            def ours() -> None:
                for seen in range(0, count, batch):
                    source.batch(seen)

            taken = pairs(theirs, ours, count=self.command.pairs, device=torch.device("cpu"))
        self.add("data", "ImageFolder and DataLoader / ours", f"{count:,} JPEGs of 32 px, batch {batch}, in one process", taken)

    def laws(self) -> None:
        """Measure time and memory of an iteration along every axis and fit exponents."""
        width = 32 if self.command.tiny else 64
        for axis, values in AXES.items():
            chosen = dict(list(values.items())[:2]) if self.command.tiny else values
            rows = []
            for value, changes in chosen.items():
                config = described(width, width, 4 if self.command.tiny else 16, changes)
                run = self.iterations(config, 1)
                memory = peak_bytes(run, device=self.device)
                taken = [busy_seconds(run, self.device) for _ in range(1 if self.command.tiny else 3)]
                rows.append({"value": value, "milliseconds": 1000 * statistics.median(taken), "bytes": memory, "macs": macs_of(config)})
            last = changes.get("generator", {}).get("width", width)
            law = {
                "axis": axis,
                "setting": f"last point: width {last}, batch {config.trainer.batch_size}, {config.data.size} px, n_dis 1",
                "points": rows,
                "time_exponent": exponent([(float(row["value"]), row["milliseconds"]) for row in rows]),
                "memory_exponent": exponent([(float(row["value"]), float(row["bytes"])) for row in rows]),
                "macs_exponent": exponent([(float(row["value"]), float(row["macs"])) for row in rows]),
            }
            self.record.add("laws", law, key=("axis",))
            exponents = ", ".join(f"{what} ^{law[f'{what}_exponent']:.2f}" for what in ("time", "memory", "macs"))
            print(f"{axis:20} {min(chosen)} to {max(chosen)}: {exponents}", flush=True)

    def predictions(self) -> None:
        """Compare the time and memory that dry runs promise with those of the runs, each in a process of its own."""
        names = list(PREDICTED)[:1] if self.command.tiny else list(PREDICTED)
        for name in names:
            row = {"name": name, **predicted_and_measured(self.command.config, PREDICTED[name], seconds=2.0 if self.command.tiny else 10.0)}
            self.record.add("predictions", row, key=("name",))
            print(
                f"{name:28} {row['predicted_ms']:.4g} ms predicted, {row['measured_ms']:.4g} measured; "
                f"{row['predicted_gib']:.2f} and {row['measured_gib']:.2f} GiB",
                flush=True,
            )


def described(generator: int, discriminator: int, batch: int, changes: dict[str, Any]) -> GANRunConfig:
    """Return the plain run of SNGAN at 32 px with nested ``changes``."""
    plain = sngan(generator, discriminator, batch_size=batch, n_dis=1, conditional=False, precision="fp32")
    return validated(GANRunConfig, merged(plain.model_dump(mode="json", exclude_unset=True), changes), "benchmark")


def macs_of(config: GANRunConfig) -> int:
    """Return the MACs of an iteration, without penalties."""
    parts = check(config, build_accelerator(config), None)
    generator = counts(parts.generator, torch.zeros(2, config.generator.latent_dim)).macs
    discriminator = counts(parts.discriminator, torch.zeros(2, 3, config.data.size, config.data.size)).macs
    return iteration_macs(config.trainer, generator, discriminator)


def random_inception(file: Path) -> Path:
    """Write Inception's weights as torch-fidelity stores them, with the random values of its constructor, and return the path."""
    from torch_fidelity import feature_extractor_inceptionv3 as theirs

    with (
        patch.object(theirs, "load_state_dict_from_url", lambda *_, **__: {}),
        patch.object(theirs.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None),
    ):
        torch.save(theirs.FeatureExtractorInceptionV3("inception", ["2048"], verbose=False).state_dict(), file)
    return file


def predicted_and_measured(config: str, changes: Sequence[str], *, seconds: float) -> dict[str, float]:
    """Return time per iteration and peak memory by a dry run, and of a run of about ``seconds`` that follows it.

    Args:
        config: a run's file.
        changes: overrides.
        seconds: length of the run.

    Raises:
        UserError: a dry run or a run failed.

    """
    with tempfile.TemporaryDirectory() as folder:
        words = ["gconv_gan.commands.train.gan", config, *changes, "--runs-dir", folder, "--data.cache-dir", f"{folder}/cache"]
        promised = _output([*words, "--dry-run"])
        said = re.search(r"time: about ([\d.e-]+) (s|min) per iteration", promised)
        memory = re.search(r"memory: about ([\d.]+) GiB", promised)
        steps = re.search(r"batch (\d+)$", promised, re.MULTILINE)
        n_dis = re.search(r'"n_dis": (\d+)', promised)
        if said is None or memory is None or steps is None or n_dis is None:
            raise UserError(f"the dry run of {config} predicts no time or memory")
        each = float(said[1]) * (60 if said[2] == "min" else 1)
        images = int(steps[1]) * int(n_dis[1])
        block = max(2, int(seconds / each / 4))
        flags = {"total-images": 4 * block * images, "log-every": block * images, "sample-every": 10**9, "checkpoint-every": 10**9}
        _output([*words, *(word for key, value in flags.items() for word in (f"--trainer.{key}", str(value)))])
        [log] = Path(folder).glob("*/log.txt")
        lines = re.findall(r"([\d.]+) s/kimg.* ([\d.]+) GiB$", log.read_text(), re.MULTILINE)
    taken = statistics.median(float(kimg) for kimg, _ in lines[1:])  # the first block has the start of the process
    return {
        "predicted_ms": 1000 * each,
        "measured_ms": taken * images,
        "predicted_gib": float(memory[1]),
        "measured_gib": max(float(gib) for _, gib in lines),
    }


def _output(words: Sequence[str]) -> str:
    done = subprocess.run([sys.executable, "-c", RUN, *words], capture_output=True, text=True, env=os.environ, check=False)
    if done.returncode:
        raise UserError(f"{' '.join(words)}: exit code {done.returncode}: {done.stderr.strip()[-500:]}")
    return done.stdout
