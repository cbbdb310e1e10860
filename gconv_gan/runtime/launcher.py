"""Effects of a launcher on the processes that it starts: the end of the launcher, and settings in the environment."""

import ctypes
import os
import signal
import sys
from pathlib import Path

from gconv_gan.config.base import PrecisionName
from gconv_gan.config.errors import UserError

LAUNCHERS = {
    "accelerate",
    "accelerate-launch",
    "accelerate.commands.accelerate_cli",
    "accelerate.commands.launch",
    "torchrun",
    "torch.distributed.launch",
    "torch.distributed.run",
}
LAUNCHER_DIED = signal.SIGRTMIN if sys.platform == "linux" else None
"""Signal that the kernel sends when the launcher has ended. It is not SIGTERM: if the whole process group receives SIGTERM, the process
would count the signal of the launcher's end as a second SIGTERM and end before it has saved. Unhandled, it ends the process."""
PR_SET_PDEATHSIG = 1


def end_with_launcher() -> None:
    """Let Linux signal this process when its launcher ends, if it has one: Accelerate's launcher for one process forwards no signal.

    A shell is not a launcher: a run in the background continues after its shell has ended.
    """
    if LAUNCHER_DIED is None:
        return
    parent = os.getppid()
    if not _is_launcher(parent):
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, LAUNCHER_DIED, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the request reached the kernel
        os.kill(os.getpid(), LAUNCHER_DIED)


def _is_launcher(process: int) -> bool:
    try:
        words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return any(Path(os.fsdecode(word)).name in LAUNCHERS for word in words)


METHODS = {
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "tensor, context or sequence parallelism",
}
PRECISIONS = ("no", "bf16")


def require_plain_processes() -> None:
    """Raise ``UserError`` if the launcher requests any parallelism other than data parallelism."""
    for variable, method in METHODS.items():
        if os.environ.get(variable, "").lower() in ("1", "true", "yes", "on", "y", "t"):
            raise UserError(
                f"{variable} = {os.environ[variable]} requests {method} from Accelerate, which this package does not support: "
                "unset it, or answer no in 'accelerate config'; several processes work with --multi_gpu"
            )


def require_plain_training() -> None:
    """Raise ``UserError`` if a setting of the launcher, absent from the config, would change gradients or networks."""
    require_plain_processes()
    steps = os.environ.get("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1")
    if steps != "1":
        raise UserError(
            f"ACCELERATE_GRADIENT_ACCUMULATION_STEPS = {steps} would divide every gradient by that number: unset it, "
            "and split the batch with --trainer.micro-batches"
        )
    compiler = os.environ.get("ACCELERATE_DYNAMO_BACKEND", "no")
    if compiler.lower() != "no":
        raise UserError(
            f"ACCELERATE_DYNAMO_BACKEND = {compiler} would compile the networks, which changes a run's numbers: "
            "unset it, or launch with --dynamo_backend no"
        )


def require_fitting_precision(precision: PrecisionName | None) -> None:
    """Raise ``UserError`` if the launcher requests a precision that is not supported, or another one than ``trainer.precision`` names.

    A launcher that is asked for no precision says "no", which contradicts nothing.
    """
    requested = os.environ.get("ACCELERATE_MIXED_PRECISION", "no").lower()
    if requested == "fp16":
        raise UserError("fp16 needs one loss scale per network, which Accelerate cannot give two networks: use --trainer.precision bf16")
    if requested not in PRECISIONS:
        raise UserError(
            f"ACCELERATE_MIXED_PRECISION = {requested} is not among {', '.join(PRECISIONS)}: launch with --mixed_precision no or bf16"
        )
    if requested != "no" and precision not in (None, requested):
        raise UserError(
            f'ACCELERATE_MIXED_PRECISION = {requested} contradicts trainer.precision = "{precision}": launch with --mixed_precision no, '
            f"or leave trainer.precision out"
        )
