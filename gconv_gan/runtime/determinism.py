"""Kernels of a GPU that give the same bits every time, set around each iteration and restored.

Sums whose order depends on the scheduling of threads differ from call to call in their last bits. torch has another kernel for most of the
operations concerned (``torch.use_deterministic_algorithms``), and none for some, such as the gradients of bilinear resampling.
"""

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

# in torch's warnings
_NONE = r"^(?P<operation>\S.*?) (?:does not have a deterministic implementation|defaults to a non-deterministic algorithm)"


def prepare_deterministic_kernels() -> None:
    """Give cuBLAS the workspaces with which its products repeat, which it reads before the first one, and silence torch's warnings."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    warnings.filterwarnings("ignore", message=_NONE)


@contextmanager
def deterministic_kernels(device: torch.device) -> Iterator[None]:
    """Use deterministic kernels where they exist in the body, if the device is a GPU; then restore torch's settings.

    cuDNN does not choose kernels by their speed, since it could choose others after a restart.
    """
    if device.type != "cuda":
        yield
        return
    cudnn: Any = torch.backends.cudnn
    filling: Any = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    filled, chosen = filling.fill_uninitialized_memory, (cudnn.deterministic, cudnn.benchmark)
    torch.use_deterministic_algorithms(True, warn_only=True)
    filling.fill_uninitialized_memory = False  # all memory is written before it is read
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        filling.fill_uninitialized_memory = filled
        cudnn.deterministic, cudnn.benchmark = chosen


@contextmanager
def operations_without_deterministic_kernels() -> Iterator[list[str]]:
    """Yield a list that holds, after the body, the names of its operations that torch has no deterministic kernel for, each once."""
    found: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", message=_NONE)
        yield found
    for warning in caught:
        match = re.match(_NONE, str(warning.message))
        if match is None:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        elif match["operation"] not in found:
            found.append(match["operation"])
