"""The loop that turns weights, latents and labels into images: of scores, of sample grids, galleries, exports and the Python interface."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gconv_gan.runtime.capture import ForwardPass
from gconv_gan.runtime.modes import evaluating
from gconv_gan.runtime.precision import float32_arithmetic

Call = Callable[[Tensor, Tensor | None], Tensor]


def usual_sampling_batch(device: torch.device) -> int:
    """Return the images per call of a generator: on a CPU 32, which fit into the caches, else 256."""
    return 32 if device.type == "cpu" else 256


class Sampler:
    """``sampler(z, y)``: the images of latents and labels by a generator in evaluation mode, in float32, as it is at the call.

    On a GPU the forward pass is a CUDA graph from the third batch on; its weights may change in place, but not its modules.

    Args:
        generator: ``generator(z, y)``; it must not be replaced in parts while the sampler is used.
        batch_size: images per call, which changes them by float round-off alone; None: ``usual_sampling_batch``.
        mode: the scope of its passes, such as normalisation by batch statistics.

    """

    def __init__(
        self,
        generator: nn.Module,
        *,
        batch_size: int | None = None,
        mode: Callable[[nn.Module], AbstractContextManager[None]] = evaluating,
    ) -> None:
        self.generator, self._mode = generator, mode
        self.device = device_of(generator)
        self.batch_size = batch_size or usual_sampling_batch(self.device)
        self._pass = ForwardPass(lambda z, y: (generator(z, y),), self.device, what="the generator's forward pass")

    @torch.no_grad()
    def __call__(self, z: Float[Tensor, "n d"], y: Int[Tensor, " n"] | None) -> Float[Tensor, "n c h w"]:
        """Return the images, on the generator's device, without waiting for it."""
        with self._mode(self.generator), float32_arithmetic(self.device):
            return in_batches(lambda z, y: self._pass(z, y)[0], z, y, batch_size=self.batch_size, device=self.device)


def whole_batches(count: int, batch_size: int) -> int:
    """Return the images of the fewest whole batches that hold ``count``: in a batch of another size a convolution may round differently."""
    return -(-count // batch_size) * batch_size


def device_of(network: nn.Module) -> torch.device:
    """Return the device of a network's weights; the CPU, if it has none."""
    return next((tensor.device for tensor in network.parameters()), torch.device("cpu"))


def in_batches(
    call: Call, x: Float[Tensor, "n ..."], y: Int[Tensor, " n"] | None, *, batch_size: int, device: torch.device
) -> Float[Tensor, "n ..."]:
    """Return ``call(x, y)`` batch by batch, on ``device``; the last batch may have fewer rows."""
    results = []
    for start in range(0, len(x), batch_size):
        rows = slice(start, start + batch_size)
        results.append(call(x[rows].to(device), None if y is None else y[rows].to(device)))
    return torch.cat(results)
