"""Distribution of the global batch over processes."""

import torch
from jaxtyping import Int
from torch import Tensor


def share(batch_size: int, *, process_index: int, num_processes: int, micro_batches: int = 1) -> Int[Tensor, " b"]:
    """Return the indices [batch_size / num_processes] of a process's images, one micro-batch after the other.

    All processes share each micro-batch of the global batch, so that its batch statistics equal those of a single process.
    """
    return torch.arange(batch_size).view(micro_batches, num_processes, -1)[:, process_index].flatten()
