"""In how many digits float32 products are computed on a GPU; nothing else in the package touches torch's switches.

TF32 rounds the factors of a product to 10 bits. torch's own choice is TF32 for convolutions and exact products of matrices.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


def _switches() -> tuple[Any, Any, Any]:
    # torch refuses to read its older switches (allow_tf32) once these are set: only one kind may be used
    cudnn: Any = torch.backends.cudnn
    return cudnn.conv, cudnn.rnn, torch.backends.cuda.matmul


def set_tf32(enabled: bool) -> None:
    """Let all float32 products on a GPU be TF32, or none."""
    for switch in _switches():
        switch.fp32_precision = "tf32" if enabled else "ieee"


@contextmanager
def float32_arithmetic(device: torch.device) -> Iterator[None]:
    """Switch off autocast and, on a GPU, TF32: both change features in the third digit."""
    before = [switch.fp32_precision for switch in _switches()]
    if device.type == "cuda":
        set_tf32(False)
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        if device.type == "cuda":
            for switch, value in zip(_switches(), before, strict=True):
                switch.fp32_precision = value
