"""Full float32 precision for all computations on which a score depends."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def float32_arithmetic(device: torch.device) -> Iterator[None]:
    """Switch off autocast and, on a GPU, TF32: both change features in the third digit."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    flags = cudnn.allow_tf32, matmul.allow_tf32
    if device.type == "cuda":
        cudnn.allow_tf32 = matmul.allow_tf32 = False
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        if device.type == "cuda":
            cudnn.allow_tf32, matmul.allow_tf32 = flags
