"""Peak memory, measured and begun anew."""

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
