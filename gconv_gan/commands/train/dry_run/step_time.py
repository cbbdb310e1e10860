"""Time and peak memory of a training iteration on this device, for a dry run: measured on noise images within a few seconds.

The iteration is the loop's own, on copies of the networks as Accelerate runs them and on the run's engine. Reading images, samples,
scores and checkpoints are excluded. The batch is quadrupled, from two images on, while the next one fits into the time budget; each time is
the median of several iterations after a first one, which allocates and chooses algorithms. If the largest batch is below the run's batch
(or micro-batch), time and memory, of which a part is constant, follow the line through the two largest batches. If an iteration of two
images exceeds the budget, a forward pass of the generator (or classifier) on two images is timed and scaled by the multiply-adds, and the
memory is unknown.

On a CPU with one thread the time is this process's processor time, which other load on the machine hardly affects; else it is elapsed time.
"""

import copy
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from gconv_gan.commands.train.gan_checks import CheckedGAN
from gconv_gan.config.base import EngineName
from gconv_gan.config.errors import UserError
from gconv_gan.config.sections.classifiers import ClassifierRunConfig
from gconv_gan.config.sections.objective import AnyPenalty
from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.data.batches.class_batches import LabelledBatch
from gconv_gan.methods.method import Layout, PlayerName
from gconv_gan.metrics.cost import inference, synchronise
from gconv_gan.runtime.memory import peak_memory, reset_peak_memory
from gconv_gan.training.adversarial import Adversarial
from gconv_gan.training.engine import Engine, build_engine
from gconv_gan.training.supervised import Supervised
from gconv_gan.training.task import Task

BUDGET = 3.0
"""Time budget in seconds; a measurement that starts within it is completed."""
GROWTH = 4
"""Ratio of two measured batches."""
PASSES = 5
"""Timed iterations of a batch, fewer if they are long."""
START = 2  # images: a BatchNorm in training needs two


@dataclass(frozen=True)
class StepTime:
    """An estimated time and its basis."""

    seconds: float
    """Seconds of one iteration on the whole batch."""
    batch: int | None
    """Images of the measured batch on this process; None: only a forward pass was measured."""
    memory: float | None = None
    """Peak memory of training in bytes, of this process on a CPU, else of the device; None: it was not measured."""

    def text(self, iterations: int, *, share: int, device: torch.device) -> str:
        """Return a line on the time of ``iterations``, on a device that takes ``share`` images of every batch."""
        if self.batch is None:
            basis = "from a forward pass of two images, scaled by the MACs"
        elif self.batch < share:
            basis = f"measured with {self.batch} images at a time and scaled to {share}"
        else:
            basis = f"measured with {share} images at a time"
        return (
            f"time: about {duration(self.seconds)} per iteration on {device.type}, {duration(self.seconds * iterations)} for the "
            f"{iterations:,} iterations to go: an estimate, {basis}, without reading images, scores, samples and checkpoints"
        )

    def log_text(self, log_every: int, *, images: int, total_images: int) -> str:
        """Return a line on the status lines of a run of ``total_images``, whose iterations show ``images`` each."""
        if log_every >= total_images:
            return "log: a single status line, at the end (trainer.log_every)"
        between = self.seconds * log_every / images
        return f"log: a status line every {log_every:,} images, about every {duration(between)}, and at the end (trainer.log_every)"

    def memory_text(self, device: torch.device) -> list[str]:
        """Return a line on the memory, or none."""
        if self.memory is None:
            return []
        whose = "of this process" if device.type == "cpu" else f"on {device.type}"
        return [f"memory: about {self.memory / 2**30:.2g} GiB {whose} at its peak, without samples and scores"]


def duration(seconds: float) -> str:
    """Return "0.12 s", "34 s", "12 min", "3.4 h" or "56 days"."""
    for unit, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.{int(seconds < 10 * length)}f} {unit}"
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"


@dataclass(frozen=True)
class LabelledNoise:
    """A labelled source that returns the same batch for every position."""

    always: LabelledBatch

    def batch(self, images_seen: int) -> LabelledBatch:
        """Return the batch for any number of images seen."""
        del images_seen
        return self.always

    def whole(self) -> "LabelledNoise":
        """Return this source."""
        return self


@dataclass(frozen=True)
class NoiseImages:
    """A source that returns the same batch of noise in [-1, 1] for every position; it replaces real images in time measurements."""

    images: Tensor
    labels: Tensor | None

    def batch(self, images_seen: int) -> tuple[Tensor, Tensor | None]:
        """Return the images and their labels for any number of images seen."""
        del images_seen
        return self.images, self.labels

    def whole(self) -> "NoiseImages":
        """Return this source."""
        return self


def gan_step_time(config: GANRunConfig, parts: CheckedGAN, accelerator: Accelerator, *, macs: int, generator_macs: int) -> StepTime:
    """Return the time of ``n_dis`` discriminator steps and one generator step, without that of training methods.

    Args:
        config: the run.
        parts: its networks and objective.
        accelerator: device and processes.
        macs: multiply-adds of the iteration, over all processes.
        generator_macs: multiply-adds of the generator per image.

    Raises:
        UserError: the batch does not fit into the device's memory.

    """
    trainer, device, penalty = config.trainer, accelerator.device, config.objective.penalty
    generator = parts.generator.to(device)

    def iteration(batch: int) -> float:
        task = noise_task(with_batch(config, batch * accelerator.num_processes), parts, accelerator)
        engine = engine_of(task, trainer.engine, accelerator)
        found = [elapsed_iteration(task, engine, accelerator)]
        if not isinstance(penalty, AnyPenalty) or penalty.every == 1:
            return found[0]
        # the first step of a run has the lazy penalty, and with it the first iteration; the mean has it in n_dis of ``every`` steps
        with_penalty = len(range(0, trainer.n_dis, penalty.every))
        task.progress.d_steps = 1
        found.append(elapsed_iteration(task, engine, accelerator))
        without_penalty = len(range(penalty.every - 1, trainer.n_dis, penalty.every))
        slope = (found[0] - found[1]) / max(1, with_penalty - without_penalty)
        return found[1] + slope * (trainer.n_dis / penalty.every - without_penalty)

    z = torch.zeros(START, config.generator.latent_dim, device=device)
    y = None if parts.num_classes is None else torch.zeros(START, dtype=torch.long, device=device)
    forward = elapsed_forward(generator, accelerator, z, y)
    share = trainer.batch_size // accelerator.num_processes
    rough = forward * macs / accelerator.num_processes / (START * generator_macs)
    return estimate(iteration, accelerator, share=share, part=share // trainer.micro_batches, rough=rough)


def noise_task(
    config: GANRunConfig, parts: CheckedGAN, accelerator: Accelerator, layouts: Mapping[PlayerName, Layout] = MappingProxyType({})
) -> Adversarial:
    """Return adversarial training of copies of the networks, on noise in place of real images and without training methods.

    ``layouts`` are as in ``Adversarial``.
    """
    batch, size, device = config.trainer.batch_size // accelerator.num_processes, config.data.size, accelerator.device
    y = None if parts.num_classes is None else torch.arange(batch, device=device) % parts.num_classes
    reals = NoiseImages(torch.rand(batch, 3, size, size, device=device) * 2 - 1, y)
    return Adversarial(
        config,
        copy.deepcopy(parts.generator),
        copy.deepcopy(parts.discriminator),
        copy.deepcopy(parts.objective),
        data=reals,
        generator_data=reals if parts.objective.loss.relativistic else None,
        num_classes=parts.num_classes,
        layouts=layouts,
        device=device,
    )


def classifier_step_time(config: ClassifierRunConfig, network: nn.Module, classes: int, accelerator: Accelerator) -> StepTime:
    """Return the time of one step, without that of training methods.

    Args:
        config: the run.
        network: its network.
        classes: its number of classes.
        accelerator: device and processes.

    Raises:
        UserError: the batch does not fit into the device's memory.

    """
    trainer, device, size = config.trainer, accelerator.device, config.image_size
    network = network.to(device)

    def iteration(batch: int) -> float:
        places = torch.arange(batch, device=device)
        images = torch.rand(batch, 3, size, size, device=device) * 2 - 1
        noise = LabelledNoise(LabelledBatch(images, places % classes, places % classes, places, None))
        task = Supervised(with_batch(config, batch * accelerator.num_processes), copy.deepcopy(network), data=noise, device=device)
        return elapsed_iteration(task, engine_of(task, trainer.engine, accelerator), accelerator)

    share = trainer.batch_size // accelerator.num_processes
    forward = elapsed_forward(network, accelerator, torch.zeros(START, 3, size, size, device=device))
    return estimate(iteration, accelerator, share=share, part=share // trainer.micro_batches, rough=forward * 3 * share / START)


Config = TypeVar("Config", GANRunConfig, ClassifierRunConfig)


def with_batch(config: Config, batch: int) -> Config:
    """Return ``config`` with a batch of ``batch`` images that is not split."""
    trainer = config.trainer.model_copy(update={"batch_size": batch, "micro_batches": 1})
    return config.model_copy(update={"trainer": trainer})


def engine_of(task: Task, name: EngineName, accelerator: Accelerator) -> Engine:
    """Return the engine that the loop would run a task on, which is begun first."""
    task.begin(accelerator)
    task.set_schedules(1.0)
    processes, device = accelerator.num_processes, accelerator.device
    return build_engine(name, task.iterate, state=task.tensors, device=device, processes=processes, say=lambda _: None)


def elapsed_iteration(task: Task, engine: Engine, accelerator: Accelerator) -> float:
    """Return the seconds of the next iteration of a task."""
    return typical(partial(engine.run, *task.prepare()), accelerator)


def estimate(iteration: Callable[[int], float], accelerator: Accelerator, *, share: int, part: int, rough: float) -> StepTime:
    """Return the time of an iteration, measured on the largest batch that fits into the budget.

    Args:
        iteration: runs an iteration on the given number of images and returns its seconds, equal on every process.
        accelerator: device and processes.
        share: images of the batch on this process.
        part: largest number of them in memory at once.
        rough: seconds of the iteration estimated from its multiply-adds.

    Raises:
        UserError: the batch does not fit into the device's memory.

    """
    batch, spent = min(START, part), 0.0
    if rough * batch / share > BUDGET:
        return StepTime(rough, None)
    times: dict[int, float] = {}
    peaks: dict[int, float] = {}

    def measure(images: int) -> float:
        """Add a time and a peak, and return the seconds of the whole measurement."""
        reset_peak_memory(accelerator.device)
        start = time.perf_counter()
        times[images] = iteration(images)
        peaks[images] = agreed(float(peak_memory(accelerator.device)), accelerator)
        return agreed(time.perf_counter() - start, accelerator)

    try:
        last = measure(batch)
        grown = min(GROWTH * batch, part)
        # only the iterations of the next batch are longer, not building and preparing them
        while grown > batch and spent + last + (grown / batch - 1) * min(last, (1 + PASSES) * times[batch]) <= BUDGET:
            spent += last
            last = measure(grown)
            batch, grown = grown, min(GROWTH * grown, part)
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"a step of {grown} images does not fit into the memory of {accelerator.device}: raise trainer.micro_batches, or lower "
            "trainer.batch_size or the networks' width"
        ) from error
    seconds = at(times, part)
    return StepTime(times[batch] * share / batch if seconds is None else seconds * share / part, batch, at(peaks, part))


def at(points: Mapping[int, float], batch: int) -> float | None:
    """Return the value at ``batch``, or that on the line through the two largest batches below it; None if there is only one."""
    if batch in points:
        return points[batch]
    if len(points) == 1:
        return None
    before, last = sorted(points)[-2:]
    return points[last] + max(0.0, points[last] - points[before]) * (batch - last) / (last - before)


def elapsed_forward(network: nn.Module, accelerator: Accelerator, *inputs: Tensor | None) -> float:
    """Return the seconds of a forward pass in evaluation mode."""
    return typical(inference(network, *(tensor for tensor in inputs if tensor is not None)), accelerator)


def typical(run: Callable[[], object], accelerator: Accelerator) -> float:
    """Return the median seconds of several calls after a first one."""
    elapsed(run, accelerator)
    found = [elapsed(run, accelerator)]
    while len(found) < PASSES and sum(found) < BUDGET / PASSES:
        found.append(elapsed(run, accelerator))
    return statistics.median(found)


def elapsed(run: Callable[[], object], accelerator: Accelerator) -> float:
    """Return the seconds of one call on the slowest process, equal on all processes."""
    alone = accelerator.device.type == "cpu" and accelerator.num_processes == 1 and torch.get_num_threads() == 1
    clock = time.process_time if alone else time.perf_counter
    synchronise(accelerator.device)
    start = clock()
    run()
    synchronise(accelerator.device)
    return agreed(clock() - start, accelerator)


def agreed(seconds: float, accelerator: Accelerator) -> float:
    """Return the largest of the processes' values, so that all processes take the same branch; otherwise collective operations deadlock."""
    return float(accelerator.gather(torch.tensor([seconds], device=accelerator.device)).max())
