"""Which images of the global batch a process computes."""

import torch
from jaxtyping import Int
from torch import Tensor


def share(batch_size: int, *, process_index: int, num_processes: int, micro_batches: int = 1) -> Int[Tensor, " b"]:
    """Return the indices [batch_size / num_processes] of a process's images, one micro-batch after the other.

    Each micro-batch of the global batch is shared by all processes: so its batch statistics are those that one process has.
    """
    return torch.arange(batch_size).view(micro_batches, num_processes, -1)[:, process_index].flatten()
