"""Record of the time of a training iteration on this device, called and as a CUDA graph.

The iterations are those of the training loop with the run's own batches. The time includes random numbers, images and launches, not
pictures, scores and checkpoints. Each result is written as soon as it is measured.
"""

import contextlib
import gc
import json
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from pydantic import PositiveFloat

from gconv_gan.commands.train.accelerator import build_accelerator
from gconv_gan.commands.train.gan_checks import check
from gconv_gan.commands.train.gan_plan import iteration_macs
from gconv_gan.config.base import Config, EngineName, PrecisionName
from gconv_gan.config.load import merged, parse_command, validated
from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.data.cache import open_dataset
from gconv_gan.data.image_dataset import ImageDataset
from gconv_gan.metrics.cost import counts, synchronise
from gconv_gan.runtime.atomic import write_text
from gconv_gan.runtime.device import command_device, device_name
from gconv_gan.runtime.memory import peak_memory, reset_peak_memory
from gconv_gan.runtime.precision import float32_products, products_of
from gconv_gan.runtime.run_folder import versions
from gconv_gan.training.adversarial import Adversarial
from gconv_gan.training.engine import build_engine

CHUNK = 4  # iterations between two readings of the clock; with a lazy penalty, those of its period

SMALL: dict[str, Any] = {
    "generator": {"width": 32, "conv": {"kind": "plain"}},
    "discriminator": {"width": 32, "norm": {"kind": "spectral"}},
    "trainer": {"batch_size": 64, "n_dis": 1},
}
SNGAN: dict[str, Any] = {"generator": {"width": 256}, "discriminator": {"width": 128}, "trainer": {"n_dis": 5}}
CASES: dict[str, dict[str, Any]] = {
    "small plain": {},
    "sngan plain": SNGAN,
    "sngan plain, fastest kernels": merged(SNGAN, {"trainer": {"deterministic": False}}),
    "small dictionary": {"generator": {"conv": {"kind": "gconv", "mode": "dictionary"}}},
    "small bank": {"generator": {"conv": {"kind": "gconv", "mode": "bank"}}},
    "small ConvNorm": {"discriminator": {"norm": {"kind": "conv_norm"}}},
    "small R1 every 16": {"objective": {"penalty": {"kind": "r1", "every": 16}}},
    "sngan dictionary": merged(SNGAN, {"generator": {"conv": {"kind": "gconv", "mode": "dictionary"}}}),
    "sngan bank": merged(SNGAN, {"generator": {"conv": {"kind": "gconv", "mode": "bank"}}}),
    "sngan ConvNorm": merged(SNGAN, {"discriminator": {"norm": {"kind": "conv_norm"}}}),
}


class SpeedRecordCommand(Config):
    """Measure the time of an iteration of every case, called and captured, in one precision."""

    record: str
    """JSON file to which results are added."""
    data_path: str
    """Folder of pictures, 32×32, whose sub-folder train is read."""
    precision: PrecisionName = "tf32"
    """Precision of both networks; one per process."""
    cache_dir: str = "cache"
    """Folder of converted data."""
    seconds: PositiveFloat = 1.5
    """Measuring time of a case on an engine in seconds."""
    limit: PositiveFloat = 1e9
    """Seconds after which no further case is begun."""
    tiny: bool = False
    """Tiny networks, to try the script."""


@dataclass(frozen=True)
class Measured:
    """Measurement of one case on one engine in one precision."""

    case: str
    engine: EngineName
    precision: PrecisionName
    parameters: int
    """Parameters of the generator."""
    generator_macs: int
    """MACs of its forward pass per image."""
    macs: int
    """MACs of an iteration without penalties."""
    milliseconds: float
    """Time of an iteration: median over chunks of the mean within a chunk."""
    quartiles: tuple[float, float]
    iterations: int
    tflops: float
    """Floating-point operations per second, two per multiply-add, in 10¹²."""
    first_seconds: float
    """Time of the first iterations: choice of algorithms, warm-up, captures."""
    peak_gib: float
    said: list[str]
    """Messages of the engine: why it does not capture."""


def main(arguments: Sequence[str]) -> None:
    """Measure every case in the precision of the command line and add the results to its file one by one."""
    command = parse_command(SpeedRecordCommand, arguments)
    file, precision = Path(command.record), command.precision
    begun = time.perf_counter()
    dataset: ImageDataset | None = None
    held = json.loads(file.read_text()) if file.exists() else about()
    file.parent.mkdir(parents=True, exist_ok=True)

    def keep() -> None:
        write_text(file, json.dumps(held, indent=1) + "\n")

    for case, changes in CASES.items():
        config = _config(changes, command)
        dataset = dataset or open_dataset(config.data)
        if "ceilings" not in held and command_device().type == "cuda":
            held["ceilings"] = ceilings(command_device())
        accelerator = build_accelerator(config)
        engines: tuple[EngineName, ...] = ("eager", "cuda_graph") if accelerator.device.type == "cuda" else ("eager",)
        for engine in engines:
            if time.perf_counter() - begun > command.limit:
                print(f"{precision}: no time for {case}, {engine}", flush=True)
                continue
            try:
                found = measured(case, config, engine, precision, dataset, accelerator, seconds=command.seconds)
            except RuntimeError as error:  # continue with the other cases
                held.setdefault("failures", []).append({"case": case, "engine": engine, "precision": precision, "error": str(error)})
                print(f"{precision}  {case}  {engine}: {error}", flush=True)
            else:
                held["cases"].append(asdict(found))
                print(
                    f"{precision}  {case:28} {engine:10} {found.milliseconds:8.2f} ms  {found.tflops:6.1f} TFLOP/s  "
                    f"{found.peak_gib:5.2f} GiB  first {found.first_seconds:.1f} s  {' '.join(found.said)}",
                    flush=True,
                )
            keep()
            gc.collect()


def _config(changes: dict[str, Any], command: SpeedRecordCommand) -> GANRunConfig:
    precision = command.precision
    fixed = {
        "name": "speed",
        "data": {"kind": "folder", "path": command.data_path, "split": "train", "cache_dir": command.cache_dir},
        "trainer": {"total_images": 1, "precision": precision},
    }
    tiny = {"generator": {"width": 8}, "discriminator": {"width": 8}, "trainer": {"batch_size": 4, "n_dis": 1}} if command.tiny else {}
    base = merged(merged(SMALL, {"discriminator_optimizer": {"learning_rate": 4e-4}}), changes)
    return validated(GANRunConfig, merged(merged(base, fixed), tiny), "speed record")


def measured(
    case: str,
    config: GANRunConfig,
    engine: EngineName,
    precision: PrecisionName,
    dataset: ImageDataset,
    accelerator: Accelerator,
    *,
    seconds: float,
) -> Measured:
    """Return the time of an iteration of ``config`` on ``engine``."""
    parts = check(config, accelerator, dataset)
    assert parts.data is not None
    y = None if parts.num_classes is None else torch.zeros(2, dtype=torch.long)
    size = counts(parts.generator, torch.zeros(2, config.generator.latent_dim), y)
    judged = counts(parts.discriminator, torch.zeros(2, 3, config.data.size, config.data.size), y)
    task = Adversarial(
        config,
        parts.generator,
        parts.discriminator,
        parts.objective,
        data=parts.data,
        generator_data=parts.generator_data,
        num_classes=parts.num_classes,
        methods=parts.methods,
        device=accelerator.device,
    )
    said: list[str] = []
    task.start()
    task.begin(accelerator)
    run = build_engine(engine, task.iterate, state=task.tensors, device=accelerator.device, processes=1, say=said.append)

    def iteration() -> None:
        task.set_schedules(1.0)
        run.run(*task.prepare())
        task.advance()

    penalty = config.objective.penalty
    every: int = getattr(penalty, "every", 1)
    chunk = CHUNK if every == 1 else every
    reset_peak_memory(accelerator.device)
    first = _seconds(iteration, chunk, accelerator.device)
    _seconds(iteration, chunk, accelerator.device)
    chunks: list[float] = []
    while len(chunks) < 3 or sum(chunks) < seconds:
        chunks.append(_seconds(iteration, chunk, accelerator.device))
    task.guard.require_finite()
    each = [1000 * taken / chunk for taken in chunks]
    low, median, high = statistics.quantiles(each, n=4)
    macs = iteration_macs(config.trainer, size.macs, judged.macs)
    return Measured(
        case,
        engine,
        precision,
        size.parameters,
        size.macs,
        macs,
        milliseconds=median,
        quartiles=(low, high),
        iterations=chunk * len(chunks),
        tflops=2e-9 * macs / median,
        first_seconds=first,
        peak_gib=peak_memory(accelerator.device) / 2**30,
        said=said,
    )


def _seconds(iteration: Callable[[], object], count: int, device: torch.device) -> float:
    synchronise(device)
    start = time.perf_counter()
    for _ in range(count):
        iteration()
    synchronise(device)
    return time.perf_counter() - start


def about() -> dict[str, Any]:
    """Return a record without cases: commit, day, device, versions."""
    commit = None
    with contextlib.suppress(OSError):  # no git
        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip() or None
    return {"commit": commit, "date": str(date.today()), "device": device_name(), "versions": versions(), "cases": []}


def ceilings(device: torch.device) -> dict[str, float]:
    """Return the measured limits of a CUDA device: TFLOP/s of large products and convolutions, TB/s of a copy."""
    source = torch.empty(2**28, device=device).normal_()
    found = {"copy TB/s": 2 * source.nbytes / _best(partial(torch.empty_like(source).copy_, source), device) / 1e12}
    precisions: tuple[PrecisionName, ...] = ("fp32", "bf16", "tf32")
    for name in precisions:
        dtype = torch.bfloat16 if name == "bf16" else torch.float32
        a = torch.randn(8192, 8192, device=device, dtype=dtype)
        x = torch.randn(64, 256, 32, 32, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
        w = torch.randn(256, 256, 3, 3, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
        flops = 2 * 64 * 256 * 256 * 9 * 32**2
        with float32_products(products_of(name), device):
            found[f"matmul {name} TFLOP/s"] = 2 * 8192**3 / _best(partial(torch.matmul, a, a), device) / 1e12
            found[f"conv {name} TFLOP/s"] = flops / _best(partial(torch.conv2d, x, w, padding=1), device) / 1e12
    return found


def _best(run: Callable[[], object], device: torch.device) -> float:
    run()
    return min(_seconds(run, 5, device) for _ in range(4)) / 5
