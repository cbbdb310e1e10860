"""Agreement of the processes of a run on values of the host."""

from typing import TypeVar

import torch
from accelerate.utils import broadcast_object_list

T = TypeVar("T")


def of_first_process(value: T) -> T:
    """Return the first process's ``value`` on every process; on a single process ``value``.

    For decisions from measurements: rounding may differ between devices, and copies of a network would drift apart. The value is pickled;
    its tensors lie on the CPU.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return value
    agreed: list[T] = broadcast_object_list([value])
    return agreed[0]
