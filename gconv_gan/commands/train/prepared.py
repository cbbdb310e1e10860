"""A run that can be trained: built and checked, but nothing written to its folder."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Generic, TypeVar

from accelerate import Accelerator

from gconv_gan.runtime.files.full_disk import writing
from gconv_gan.runtime.run_folder import MAY_CHANGE
from gconv_gan.training.loop import Run
from gconv_gan.training.task import Task

T = TypeVar("T", bound=Task)
S = TypeVar("S")


@dataclass(frozen=True)
class Prepared(Generic[T, S]):
    """A training task with its run."""

    task: T
    run: Run
    save: Callable[[], S]
    """Called after training, on every process: writes what the run leaves beside its checkpoints."""
    may_change: tuple[str, ...] = MAY_CHANGE
    """Keys of the config that may differ from the config in the folder."""

    @contextmanager
    def folder(self, accelerator: Accelerator) -> Iterator[None]:
        """Hold the run's folder for this run alone, with its config in it; raise ``UserError`` if it holds another run."""
        folder = self.run.folder
        with folder.alone() if accelerator.is_main_process else nullcontext(), writing(folder.path):
            if accelerator.is_main_process:
                folder.prepare(self.run.config, may_change=self.may_change)
            accelerator.wait_for_everyone()
            yield
