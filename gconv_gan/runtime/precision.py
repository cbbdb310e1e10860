"""In how many digits float32 products are computed on a GPU; nothing else in the package touches torch's switches.

TF32 rounds the factors of a product to 10 bits. torch's own choice is TF32 for convolutions and exact products of matrices. The switches
are read when an operation is called, in a backward pass too, and a CUDA graph keeps what they were when it was captured: they are set
around each iteration, and restored.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch

from gconv_gan.config.base import PrecisionName


def _switches() -> tuple[Any, Any, Any]:
    # torch refuses to read its older switches (allow_tf32) once these are set: only one kind may be used
    cudnn: Any = torch.backends.cudnn
    return cudnn.conv, cudnn.rnn, torch.backends.cuda.matmul


def has_tf32(device: torch.device) -> bool:
    """Return whether float32 products on the device can be computed in TF32."""
    return device.type == "cuda"


@contextmanager
def float32_products(form: Literal["tf32", "ieee"], device: torch.device) -> Iterator[None]:
    """Compute all float32 products of the body in TF32, or exactly ("ieee"), if the device has TF32; then restore the switches."""
    if not has_tf32(device):
        yield
        return
    before = [switch.fp32_precision for switch in _switches()]
    for switch in _switches():
        switch.fp32_precision = form
    try:
        yield
    finally:
        for switch, value in zip(_switches(), before, strict=True):
            switch.fp32_precision = value


@contextmanager
def float32_arithmetic(device: torch.device) -> Iterator[None]:
    """Switch off autocast and, on a GPU, TF32: both change features in the third digit."""
    with float32_products("ieee", device), torch.autocast(device.type, enabled=False):
        yield


def products_of(precision: PrecisionName | None) -> Literal["tf32", "ieee"]:
    """Return the form of float32 products that ``trainer.precision`` names; under autocast those that remain are in TF32."""
    return "ieee" if precision == "fp32" else "tf32"


def rounds(precision: PrecisionName | None, device: torch.device, *, autocast: bool) -> bool:
    """Return whether iterations in this precision round the factors of products to fewer bits than float32 has."""
    return autocast or (has_tf32(device) and products_of(precision) == "tf32")
