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
def allocate():
    for _ in range(20):
        tensors = [torch.ones(2**20) for _ in range(8)]  # 4 MiB each
        del tensors
allocate()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
allocate()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc has the setting")
def test_freed_memory_is_used_again_without_page_faults() -> None:
    def faults(*arguments: str) -> int:
        return int(subprocess.run([sys.executable, "-c", REUSED, *arguments], capture_output=True, text=True, check=True).stdout)

    pages = 20 * 8 * 2**22 // resource.getpagesize()
    assert faults() > pages / 4
    assert faults("keep") < pages / 100
