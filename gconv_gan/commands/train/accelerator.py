"""The Accelerator of a run: device and processes from the launcher, trackers into the run folder."""

import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from accelerate import Accelerator
from accelerate.utils import gather_object

from gconv_gan.config.base import Deterministic, PrecisionName
from gconv_gan.config.errors import UserError
from gconv_gan.config.plugins import hashes_of
from gconv_gan.runtime.determinism import prepare_deterministic_kernels
from gconv_gan.runtime.device import process_state
from gconv_gan.runtime.launcher import require_fitting_precision, require_plain_training
from gconv_gan.runtime.memory import keep_freed_memory
from gconv_gan.runtime.tracking import build_trackers


@runtime_checkable
class BatchConfig(Protocol):
    """The keys of a run's trainer that an Accelerator needs."""

    @property
    def batch_size(self) -> int:
        """Return the global batch, over all processes and micro-batches."""

    @property
    def micro_batches(self) -> int:
        """Return the number of parts of each process's batch."""

    @property
    def precision(self) -> PrecisionName | None:
        """Return the precision of an iteration; None: bf16 if Accelerate's launcher says so, or tf32."""

    @property
    def deterministic(self) -> Deterministic:
        """Return whether the kernels of a GPU are deterministic."""


@runtime_checkable
class RunConfig(Protocol):
    """The keys of a run that an Accelerator needs."""

    @property
    def name(self) -> str:
        """Return the name of the run's folder."""

    @property
    def runs_dir(self) -> str:
        """Return the folder of all runs."""

    @property
    def plugins(self) -> tuple[str, ...]:
        """Return the plug-ins of the run."""

    @property
    def trackers(self) -> tuple[str, ...]:
        """Return the names of its trackers."""

    @property
    def trainer(self) -> BatchConfig:
        """Return the section [trainer]."""


def build_accelerator(config: RunConfig) -> Accelerator:
    """Return the Accelerator of a run.

    Raises:
        UserError: the batch does not divide by the processes and micro-batches, a tracker cannot be made, the processes have loaded
            different plug-ins, or the launcher requests a setting that changes a run's numbers and is not in its config.

    """
    folder, trainer = Path(config.runs_dir) / config.name, config.trainer
    require_plain_training()
    if process_state().device.type == "cpu":  # the first call chooses the device by the rule of all commands
        keep_freed_memory()
    require_fitting_precision(trainer.precision)
    if trainer.deterministic is not False:
        prepare_deterministic_kernels()
    accelerator = Accelerator(
        mixed_precision=None if trainer.precision is None else "bf16" if trainer.precision == "bf16" else "no",
        log_with=build_trackers(folder, config.trackers),
        project_dir=folder,
    )
    if accelerator.num_processes == 1 and "MASTER_ADDR" in os.environ and "WORLD_SIZE" not in os.environ:
        # Accelerate's launcher sets MASTER_ADDR alone if several processes are requested and it starts one
        print(
            "a single process runs, although several were requested: the launcher starts one with --cpu; use --multi_gpu", file=sys.stderr
        )
    _require_same_plugins(config.plugins)
    parts = accelerator.num_processes * trainer.micro_batches
    if trainer.batch_size % parts:
        raise UserError(
            f"trainer.batch_size {trainer.batch_size} is global and must be divisible by {accelerator.num_processes} processes "
            f"× {trainer.micro_batches} micro-batches"
        )
    return accelerator


def _require_same_plugins(names: Sequence[str]) -> None:
    """Raise ``UserError``, on every process, if one has loaded other files than the first."""
    found = gather_object([(socket.gethostname(), hashes_of(names))])
    host, expected = found[0]
    for process, (other_host, hashes) in enumerate(found):
        for name in names:
            if hashes[name] != expected[name]:
                raise UserError(
                    f"plugins: {name} of process {process} on {other_host} is another file than that of process 0 on {host} "
                    f"(SHA-256 {hashes[name][:12]}… and {expected[name][:12]}…): give every node the same file"
                )
