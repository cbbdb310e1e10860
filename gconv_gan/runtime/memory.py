"""Memory of a process: its peak, and what it keeps when tensors are freed."""

import contextlib
import ctypes
import re
import resource
import sys
from pathlib import Path

import torch

PROCESS = Path("/proc/self")
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # parameters of mallopt(3)
LARGEST_MMAP_THRESHOLD = 32 * 2**20  # of a 64-bit glibc; it refuses a larger one


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
    """Reset the peak to the memory in use now; on a CPU this requires Linux. What ``keep_freed_memory`` keeps goes to the system."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    if hasattr(library := ctypes.CDLL(None), "malloc_trim"):
        library.malloc_trim(0)
    with contextlib.suppress(OSError):
        (PROCESS / "clear_refs").write_text("5")  # proc(5): reset the peak resident set size


def keep_freed_memory() -> bool:
    """Let this process keep the memory of freed tensors on a CPU, and return whether it can: glibc alone has the setting.

    An iteration allocates the same tensors as the one before. By default glibc returns freed blocks to the system, which then fills
    them with zeros, page by page, at the next use: up to a quarter of the time of a small network's iteration. The peak is not changed.
    """
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        return False
    return bool(library.mallopt(MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD) and library.mallopt(TRIM_THRESHOLD, -1))
