"""Peak memory, measured and begun anew; freed memory that a process keeps."""

import resource
import subprocess
import sys

import pytest
import torch

from gconv_gan.runtime.memory import peak_memory, reset_peak_memory

CPU = torch.device("cpu")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process reset its peak")
def test_the_peak_is_of_what_was_in_use_since_the_reset() -> None:
    reset_peak_memory(CPU)
    before = peak_memory(CPU)
    block = torch.ones(64 * 2**20)  # 256 MiB: given back to the system at once when freed
    assert peak_memory(CPU) - before > 200 * 2**20
    del block
    assert peak_memory(CPU) - before > 200 * 2**20
    reset_peak_memory(CPU)
    assert peak_memory(CPU) - before < 100 * 2**20


REUSED = """
import resource, sys, torch
from gconv_gan.runtime.memory import keep_freed_memory
if "keep" in sys.argv:
    assert keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for mebibytes in range(1, 21):
    torch.ones(mebibytes * 2**18)  # each larger than all before: by default glibc asks the system for it, and returns it
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc has the setting")
def test_freed_memory_is_used_again() -> None:
    def faults(*arguments: str) -> int:
        return int(subprocess.run([sys.executable, "-c", REUSED, *arguments], capture_output=True, text=True, check=True).stdout)

    pages = sum(range(1, 21)) * 2**20 // resource.getpagesize()
    assert faults() > 0.9 * pages
    assert faults("keep") < 0.5 * pages
