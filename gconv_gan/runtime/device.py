"""The device that a command computes on, and its place among the launched processes: one rule for all commands."""

import contextlib
import platform
import re
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env


def process_state() -> PartialState:
    """Return Accelerate's record of this process: ``device``, ``process_index``, ``num_processes``, ``is_main_process``.

    The device is the CPU where ``ACCELERATE_USE_CPU`` is true (``accelerate launch --cpu`` sets it) or the machine has no
    accelerator, else the accelerator with the number of this process. The first call fixes it.
    """
    # PartialState alone ignores ACCELERATE_USE_CPU and would not connect several processes on CPUs.
    return PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available())


def command_device() -> torch.device:
    """Return the device that this process computes on, see :func:`process_state`."""
    device: torch.device = process_state().device
    return device


def device_name() -> str:
    """Return the name of :func:`command_device` for cards and headings: a GPU's product name, else the type, such as "cpu"."""
    device = command_device()
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def processor() -> str:
    """Return the model of the machine's processor."""
    with contextlib.suppress(OSError):
        if named := re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE):
            return named[1]
    return platform.processor() or platform.machine()
