"""Weights and gradients of several processes.

Gradients are averaged by one all-reduce of one vector when a step's backward passes are complete. A wrapper such as torch's
``DistributedDataParallel`` would do it during the backward pass, by hooks that a CUDA graph holds only after many warm-up iterations, and
that must be kept from micro-batches and from the second of two networks. What it hides behind the backward pass is short: a vector of
40 MB crosses a link of 200 GB/s twice in 0.4 ms.
"""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn


def process_count() -> int:
    """Return the number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


@torch.no_grad()
def share_weights(network: nn.Module) -> None:
    """Give every process the parameters and buffers of the first: processors may round the initial values differently."""
    if process_count() == 1:
        return
    for tensor in (*network.parameters(), *network.buffers()):
        values = tensor.contiguous()
        dist.broadcast(values, src=0)
        tensor.copy_(values)


@torch.no_grad()
def average_gradients(gradients: Sequence[Tensor]) -> None:
    """Replace gradients, of one dtype, by their means over all processes. Collective; the host does not wait for a device."""
    processes = process_count()
    if processes == 1:
        return
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat.div_(processes)
    means = torch.split(flat, [gradient.numel() for gradient in gradients])
    torch._foreach_copy_(list(gradients), [mean.view(gradient.shape) for mean, gradient in zip(means, gradients, strict=True)])
