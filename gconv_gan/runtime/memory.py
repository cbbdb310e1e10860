"""Peak memory of a process."""

import contextlib
import re
import resource
import sys
from pathlib import Path

import torch

PROCESS = Path("/proc/self")


def peak_memory(device: torch.device) -> int:
    """Return the peak in bytes since the last reset: of the device's allocator, or of the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with contextlib.suppress(OSError):
        if found := re.search(r"^VmHWM:\s+(\d+) kB", (PROCESS / "status").read_text(), re.MULTILINE):
            return int(found[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def reset_peak_memory(device: torch.device) -> None:
    """Reset the peak to the memory in use now; on a CPU this requires Linux."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):
        (PROCESS / "clear_refs").write_text("5")  # proc(5): reset the peak resident set size
