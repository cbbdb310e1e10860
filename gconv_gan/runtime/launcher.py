"""What a launcher hands down to the processes it starts: its death, and settings in the environment."""

import ctypes
import os
import signal
import sys
from pathlib import Path

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
"""Sent by the kernel when the launcher is gone. It is no SIGTERM: where the whole process group gets one, the process would take the
launcher's death for the user's second and end before it has saved. Unhandled, it ends the process."""
PR_SET_PDEATHSIG = 1


def end_with_launcher() -> None:
    """Ask Linux to signal the death of this process's launcher, if it has one; Accelerate's for one process tells its child nothing.

    A shell is no launcher: a run started in the background outlives it.
    """
    if LAUNCHER_DIED is None:
        return
    parent = os.getppid()
    if not _is_launcher(parent):
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, LAUNCHER_DIED, 0, 0, 0)
    if os.getppid() != parent:  # it died before the kernel knew
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
    """Raise ``UserError`` where the launcher asks for a way of sharing work other than whole networks on every process."""
    for variable, method in METHODS.items():
        if os.environ.get(variable, "").lower() in ("1", "true", "yes", "on", "y", "t"):
            raise UserError(
                f"{variable} = {os.environ[variable]} asks Accelerate for {method}, which splits or steps networks in its own way: "
                "unset it, or answer no in 'accelerate config'; several processes work with --multi_gpu"
            )


def require_plain_training() -> None:
    """Raise ``UserError`` where a setting of the launcher would change gradients or networks without standing in the config."""
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
            f"ACCELERATE_DYNAMO_BACKEND = {compiler} would compile the networks, which changes a run's numbers and stands in no config: "
            "unset it, or launch with --dynamo_backend no"
        )


def require_known_precision() -> None:
    """Raise ``UserError`` where the launcher's precision, which holds where the config names none, is not among those that work."""
    precision = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if precision.lower() == "fp16":
        raise UserError("fp16 needs one loss scale per network, which Accelerate cannot give two networks: use --mixed_precision bf16")
    if precision.lower() not in PRECISIONS:
        raise UserError(
            f"ACCELERATE_MIXED_PRECISION = {precision} is not among {', '.join(PRECISIONS)}: launch with --mixed_precision no or bf16"
        )
