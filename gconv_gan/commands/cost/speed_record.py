"""Record of the time of a training iteration on this device, called and as a CUDA graph.

The iterations are those of the training loop with the run's own batches. The time includes random numbers, images and launches, not
pictures, scores and checkpoints. Each result is written as soon as it is measured.
"""

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from pydantic import PositiveFloat

from gconv_gan.commands.cost.plain_formulation import plain_pairs
from gconv_gan.commands.cost.record import FUSED_NORMS, PLAIN_FORMULATION, SpeedRecord, bytes_moved, floor_ms, pairs, speed_ratio
from gconv_gan.commands.train.accelerator import build_accelerator
from gconv_gan.commands.train.dry_run.gan_plan import iteration_macs
from gconv_gan.commands.train.dry_run.step_time import noise_task
from gconv_gan.commands.train.gan import measured as measured_layouts
from gconv_gan.commands.train.gan_checks import check
from gconv_gan.commands.train.layouts import fused_kernels_work
from gconv_gan.config.base import Config, EngineName, PrecisionName
from gconv_gan.config.load import merged, parse_command, validated
from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.data.cache import open_dataset
from gconv_gan.data.image_dataset import ImageDataset
from gconv_gan.layers.forms import chosen_forms
from gconv_gan.methods.method import Layout, PlayerName
from gconv_gan.metrics.cost import counts, synchronise
from gconv_gan.runtime.device import command_device
from gconv_gan.runtime.memory import peak_memory, reset_peak_memory
from gconv_gan.training.adversarial import Adversarial
from gconv_gan.training.engine import Engine, build_engine

CHUNK = 4  # iterations between two readings of the clock; with a lazy penalty, at least those of its period

SMALL: dict[str, Any] = {
    "generator": {"width": 32, "conv": {"kind": "plain"}},
    "discriminator": {"width": 32, "norm": {"kind": "spectral"}},
    "trainer": {"batch_size": 64, "n_dis": 1},
}
SNGAN: dict[str, Any] = {"generator": {"width": 256}, "discriminator": {"width": 128}, "trainer": {"n_dis": 5}}
CASES: dict[str, dict[str, Any]] = {
    "small plain": {},
    "sngan plain": SNGAN,
    "sngan plain, a pass of G for each step": SNGAN,
    "sngan plain, by the rules": merged(SNGAN, {"trainer": {"measure": False}}),
    "sngan plain, fastest kernels": merged(SNGAN, {"trainer": {"deterministic": False}}),
    "small dictionary": {"generator": {"conv": {"kind": "gconv", "mode": "dictionary"}}},
    "small bank": {"generator": {"conv": {"kind": "gconv", "mode": "bank"}}},
    "small ConvNorm": {"discriminator": {"norm": {"kind": "conv_norm"}}},
    "small R1 every 16": {"objective": {"penalty": {"kind": "r1", "every": 16}}},
    "sngan dictionary": merged(SNGAN, {"generator": {"conv": {"kind": "gconv", "mode": "dictionary"}}}),
    "sngan bank": merged(SNGAN, {"generator": {"conv": {"kind": "gconv", "mode": "bank"}}}),
    "sngan ConvNorm": merged(SNGAN, {"discriminator": {"norm": {"kind": "conv_norm"}}}),
    "sngan bank, by the rules": merged(SNGAN, {"generator": {"conv": {"kind": "gconv", "mode": "bank"}}, "trainer": {"measure": False}}),
}
"""Name -> changes of the plain run. On a GPU memory layouts and forms of convolutions are measured, as in a run, or not: by the rules."""
APART = ("sngan plain, a pass of G for each step",)
"""Cases in which the images of discriminator steps are not generated in one pass."""


FUSED_CASES = ("small plain", "sngan plain")


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
    bytes_moved: int | None
    """Bytes that the iteration's operations read and write, each operation alone; counted where they are called one by one."""
    floor_ms: float | None
    """The larger of MACs and bytes over the device's measured limits; None: they were not measured."""
    joined_steps: int
    """Discriminator steps whose images are generated in one pass."""
    layouts: dict[PlayerName, Layout]
    forms: dict[PlayerName, dict[str, str]]
    """Forms of convolutions that are not those of the rule, by network and layer."""
    said: list[str]
    """Messages of the engine: why it does not capture."""


def main(arguments: Sequence[str]) -> None:
    """Measure every case in the precision of the command line and add the results to its file one by one."""
    command = parse_command(SpeedRecordCommand, arguments)
    file, precision = Path(command.record), command.precision
    begun = time.perf_counter()
    dataset: ImageDataset | None = None
    record = SpeedRecord(file)
    if command.precision != "fp32" or command.tiny:
        sizes = (8, 8, 1) if command.tiny else (256, 128, 5)
        add_plain_formulation(record, *sizes, precision=precision, batch_size=4 if command.tiny else 64)
        for name in FUSED_CASES:
            try:
                add_fused_norms(record, name, _config(CASES[name], command))
            except RuntimeError as error:
                record.add("failures", {"case": FUSED_NORMS, "engine": name, "precision": precision, "error": str(error)})
                print(f"{precision}  {FUSED_NORMS}: {error}", flush=True)
            gc.collect()
    for case, changes in CASES.items():
        config = _config(changes, command)
        dataset = dataset or open_dataset(config.data)
        limits = record.require_ceilings() if command_device().type == "cuda" else None
        accelerator = build_accelerator(config)
        engines: tuple[EngineName, ...] = ("eager", "cuda_graph") if accelerator.device.type == "cuda" else ("eager",)
        for engine in engines:
            if time.perf_counter() - begun > command.limit:
                print(f"{precision}: no time for {case}, {engine}", flush=True)
                continue
            try:
                found = measured(
                    case,
                    config,
                    engine,
                    precision,
                    dataset,
                    accelerator,
                    seconds=command.seconds,
                    chunk=1 if command.tiny else CHUNK,
                    limits=limits,
                )
            except RuntimeError as error:  # continue with the other cases
                record.add("failures", {"case": case, "engine": engine, "precision": precision, "error": str(error)})
                print(f"{precision}  {case}  {engine}: {error}", flush=True)
            else:
                record.add("cases", found)
                print(
                    f"{precision}  {case:28} {engine:10} {found.milliseconds:8.2f} ms  {found.tflops:6.1f} TFLOP/s  "
                    f"{found.peak_gib:5.2f} GiB  first {found.first_seconds:.1f} s  {' '.join(found.said)}",
                    flush=True,
                )
            gc.collect()


def add_plain_formulation(
    record: SpeedRecord, generator_width: int, discriminator_width: int, n_dis: int, *, precision: PrecisionName, batch_size: int
) -> None:
    """Measure the plain formulation against the package's iteration on its usual engine, in pairs."""
    taken = plain_pairs(
        generator_width=generator_width, discriminator_width=discriminator_width, n_dis=n_dis, batch_size=batch_size, precision=precision
    )
    setting = f"width {generator_width}/{discriminator_width}, batch {batch_size}, n_dis {n_dis}, 32 px, {precision}"
    row = speed_ratio("step", PLAIN_FORMULATION, setting, taken)
    record.add("ratios", row, key=("part", "name", "setting"))
    print(f"{precision}  {row.name}: {row.median:.2f}", flush=True)


def add_fused_norms(record: SpeedRecord, name: str, config: GANRunConfig) -> None:
    """Measure a case with torch's kernels of batch normalisation against the fused ones, in pairs on the usual engine.

    Raises:
        RuntimeError: the fused kernels fail on this GPU. On a CPU, which has none, both are the same.

    """
    accelerator = build_accelerator(config)
    device, parts = accelerator.device, check(config, accelerator, None)
    if device.type == "cuda":
        said: list[str] = []
        if not fused_kernels_work(device, said.append):
            raise RuntimeError("; ".join(said) or "Triton is not installed")
    runs: list[Callable[[], None]] = []
    peaks = []
    both: tuple[Layout, Layout] = ("channels_last", "channels_last_fused")
    for layout in both:
        before = 0 if device.type == "cpu" else torch.cuda.memory_allocated(device)
        task = noise_task(config, parts, accelerator, {"generator": layout})
        task.begin(accelerator)
        engine = build_engine("auto", task.iterate, state=task.tensors, device=device, processes=1, say=print)

        def iterations(task: Adversarial = task, engine: Engine = engine) -> None:
            for _ in range(CHUNK):
                task.set_schedules(1.0)
                engine.run(*task.prepare())
                task.advance()

        reset_peak_memory(device)
        iterations()
        peaks.append(peak_memory(device) - before)
        runs.append(iterations)
    widths = "/".join(str(network.model_dump()["width"]) for network in (config.generator, config.discriminator))
    size = f"width {widths}, batch {config.trainer.batch_size}"
    setting = f"{size}, n_dis {config.trainer.n_dis}, 32 px, {config.trainer.precision}, {CHUNK} iterations"
    taken = pairs(runs[0], runs[1], count=9 if device.type == "cuda" else 1, device=device)
    row = speed_ratio("step", FUSED_NORMS, setting, taken, memory=None if device.type == "cpu" else peaks[0] / peaks[1])
    record.add("ratios", row, key=("part", "name", "setting"))
    print(f"{config.trainer.precision}  {row.name}, {size}: {row.median:.3f}", flush=True)


def _config(changes: dict[str, Any], command: SpeedRecordCommand) -> GANRunConfig:
    precision = command.precision
    fixed = {
        "name": "speed",
        "data": {"kind": "folder", "path": command.data_path, "split": "train", "cache_dir": command.cache_dir},
        "trainer": {"total_images": 1, "precision": precision},
    }
    tiny = {"generator": {"width": 8}, "discriminator": {"width": 8}, "trainer": {"batch_size": 4, "n_dis": 2}} if command.tiny else {}
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
    chunk: int = CHUNK,
    limits: dict[str, float] | None = None,
) -> Measured:
    """Return the time of an iteration of ``config`` on ``engine``; the clock is read every ``chunk`` iterations."""
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
        layouts=measured_layouts(config, parts, accelerator),
        device=accelerator.device,
    )
    said: list[str] = []
    task.start()
    task.begin(accelerator)
    if case in APART:
        task.joined_steps = 1
    run = build_engine(engine, task.iterate, state=task.tensors, device=accelerator.device, processes=1, say=said.append)

    def iteration() -> None:
        task.set_schedules(1.0)
        run.run(*task.prepare())
        task.advance()

    penalty = config.objective.penalty
    every: int = getattr(penalty, "every", 1)
    chunk = max(chunk, every)
    reset_peak_memory(accelerator.device)
    first = _seconds(iteration, chunk, accelerator.device)
    _seconds(iteration, chunk, accelerator.device)
    chunks: list[float] = []
    while len(chunks) < 3 or sum(chunks) < seconds:
        chunks.append(_seconds(iteration, chunk, accelerator.device))
    task.guard.require_finite()
    peak = peak_memory(accelerator.device)
    moved = bytes_moved(iteration) if engine == "eager" else None
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
        peak_gib=peak / 2**30,
        bytes_moved=moved,
        floor_ms=None if limits is None else floor_ms(limits, macs=macs, moved=moved, precision=precision),
        joined_steps=task.joined_steps,
        layouts={name: player.layout for name, player in task.players.items()},
        forms={name: chosen_forms(player.network) for name, player in task.players.items()},
        said=said,
    )


def _seconds(iteration: Callable[[], object], count: int, device: torch.device) -> float:
    synchronise(device)
    start = time.perf_counter()
    for _ in range(count):
        iteration()
    synchronise(device)
    return time.perf_counter() - start
