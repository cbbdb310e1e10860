"""The training loop of every task, top to bottom; everything is counted in images.

Every number that a task draws is a function of the counters, so a run that is killed and started again gives the same bits. The host
waits for the device only when it reads values: at status lines, pictures, scores and checkpoints.
"""

from collections.abc import Generator, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from gconv_gan.config.base import Deterministic
from gconv_gan.config.errors import StoppedBySignalError, UserError
from gconv_gan.config.sections.classifiers import ClassifierRunConfig
from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.layers.forms import chosen_forms
from gconv_gan.methods.method import Progress
from gconv_gan.models.changes import Record, records_of
from gconv_gan.optim.schedules import schedule_factor
from gconv_gan.runtime.determinism import operations_without_deterministic_kernels
from gconv_gan.runtime.run_folder import RunFolder
from gconv_gan.runtime.tracking import read_metrics, start_trackers
from gconv_gan.training.checkpoint import resume, save_checkpoint
from gconv_gan.training.engine import Engine, build_engine
from gconv_gan.training.guards import agreeing_is_free, noticing_signals, stop_signal
from gconv_gan.training.report import Report, write_method_files
from gconv_gan.training.state import due
from gconv_gan.training.task import Task


@dataclass(frozen=True)
class Run:
    """The inputs of the loop besides its task."""

    config: GANRunConfig | ClassifierRunConfig
    folder: RunFolder
    facts: dict[str, Any]
    """JSON data that every checkpoint stores."""
    fork: Path | None = None
    """The checkpoint of another run from which a run without checkpoints goes on."""
    inherited: Sequence[Record] = ()
    """Records of the changes of structure that the networks had before the run's own methods acted, see ``models.changes``."""
    quiet: bool = False
    """Write messages to the run's log only, not to the terminal."""


def train(task: Task, run: Run, accelerator: Accelerator) -> Progress:
    """Train until ``trainer.total_images``, from the newest undamaged checkpoint of the run folder if there is one; return the counters.

    Raises:
        NotFiniteError: a gradient is not finite.
        UserError: ``trainer.deterministic`` is true, and the run has an operation without a deterministic form.
        StoppedBySignalError: a signal that ends a process arrived; the state was saved.

    """
    with noticing_signals() as signals:
        for _ in iterations(task, run, accelerator, signals):
            pass
    return task.progress


def iterations(
    task: Task, run: Run, accelerator: Accelerator, signals: list[int], *, until: int | None = None
) -> Generator[int, bool | None, None]:
    """Train as ``train`` does, and yield the images seen after every iteration, before its status line, score and checkpoint.

    If the caller sends True, the run ends there as if its length were reached: it is scored and saved, and can be resumed.

    Args:
        task: the training task.
        run: its config and folder.
        accelerator: device and processes.
        signals: the numbers of signals that arrived; one of them ends the run.
        until: images at which the run ends as if the caller sent True; None: its length.

    """
    config, trainer, progress = run.config, run.config.trainer, task.progress
    total = trainer.total_images
    last = total if until is None else min(total, until)
    report = Report(accelerator, run.folder.path / "log.txt", total_images=total, quiet=run.quiet)

    # 1. resume, or start the methods of a new run
    resume(run.folder, task.state, run.facts, accelerator, report, config, fork=run.fork)
    start_trackers(accelerator, config.model_dump(mode="json"), images_seen=progress.images_seen)
    if accelerator.is_main_process:
        report.history += read_metrics(run.folder.metrics)
        task.watch_from(report.history)

    def write_files() -> None:
        if accelerator.is_main_process:
            write_method_files(task.methods, run.folder.methods)

    if progress.images_seen == 0:
        task.start()
        write_files()

    def begin() -> Engine:
        task.begin(accelerator)
        return build_engine(
            trainer.engine,
            task.iterate,
            state=task.tensors,
            device=accelerator.device,
            processes=accelerator.num_processes,
            say=report.say,
        )

    def draw(images: int) -> None:
        picture = task.draw(images)
        if picture is not None:
            report.picture(picture, images)

    engine, watched = begin(), set[Hashable]()
    named: list[str] = []  # operations without deterministic kernels
    if accelerator.is_main_process and progress.images_seen == 0:
        draw(0)
    agree_always = agreeing_is_free(accelerator)
    report.start(progress.images_seen)

    while progress.images_seen < last:
        # 2. one iteration
        before = progress.images_seen
        task.set_schedules(schedule_factor(config.schedule, images_seen=before, total_images=total))
        variant, inputs = task.prepare()
        new_variant = variant not in watched
        watching: AbstractContextManager[list[str]] = operations_without_deterministic_kernels() if new_variant else nullcontext([])
        with watching as found:
            engine.run(variant, inputs)
        watched.add(variant)
        if new := [operation for operation in found if operation not in named]:
            named += new
            _name(new, trainer.deterministic, report)
        task.advance()
        if task.between():
            task.guard.require_finite()
            del engine  # and with it the memory of its graphs
            engine, watched = begin(), set()
            write_files()
        else:
            for method in task.methods:
                method.begin(task.players, progress)
        report.advance(task.images_per_iteration)

        # 3. status, pictures, score, checkpoint, stop?
        after = progress.images_seen
        ended = yield after
        finished = after >= last or bool(ended)
        log, sample, evaluate, save = (
            due(before, after, every) for every in (trainer.log_every, task.sample_every, task.evaluate_every, trainer.checkpoint_every)
        )
        stop = stop_signal(accelerator, signals) if log or agree_always else 0
        if log or sample or evaluate or save or finished or stop:
            task.guard.require_finite()
        if log or finished:
            with report.paused():
                extra = {**task.status(), **{name: value for method in task.methods for name, value in method.status().items()}}
            report.line(after, {**task.means.read(accelerator), **_learning_rates(task), **extra})
            for sentence in task.watch(report.history):
                report.say(sentence)
        improved = False
        if accelerator.is_main_process and (sample or finished):
            with report.paused():
                draw(after)
        if evaluate or finished:
            with report.paused():
                improved = task.score(report)
        if save or finished or stop or improved:
            with report.paused():
                if accelerator.is_main_process:
                    layouts = {player.name: player.layout for player in task.players.values()}
                    records = [*run.inherited, *records_of(task.methods)]
                    forms = {player.name: chosen_forms(player.network) for player in task.players.values()}
                    facts = {**run.facts, "layouts": layouts, "forms": forms, "methods": records}
                    save_checkpoint(run.folder.path, task.state, keep=trainer.keep_checkpoints, facts=facts, report=report.say)
                accelerator.wait_for_everyone()
        if stop and not finished:
            report.close()
            raise StoppedBySignalError(stop)
        if finished:
            write_files()
            break

    report.close()


def _learning_rates(task: Task) -> dict[str, float]:
    """Return the learning rates of the last iteration: "learning_rate" of a classifier, "learning_rate_d" and "_g" of a GAN."""
    alone = len(task.learning_rates) == 1
    return {"learning_rate" if alone else f"learning_rate_{player[0]}": rate for player, rate in task.learning_rates.items()}


def _name(operations: Sequence[str], deterministic: Deterministic, report: Report) -> None:
    """Report the operations without deterministic kernels in one line; raise ``UserError`` if ``trainer.deterministic`` refuses them."""
    names = ", ".join(operations)
    if deterministic is True:
        raise UserError(
            f"trainer.deterministic = true refuses operations without a deterministic form on this device, and the run has {names}: "
            'choose parts without them, or set trainer.deterministic = "auto"'
        )
    report.say(f"the last bits of a run may differ from those of its repetition: torch has no deterministic form of {names}")
