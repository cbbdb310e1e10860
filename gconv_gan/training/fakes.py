"""The generated images of discriminator steps: those of several steps in one pass of the generator, which does not change between them.

The images, running statistics and counters are those of one pass per step: see ``layers.norms.joined_batches``.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gconv_gan.layers.norms.joined_batches import can_be_joined, joined_batches
from gconv_gan.runtime.modes import evaluating
from gconv_gan.training.gan_inputs import DiscriminatorInputs

LARGEST_MAP = {"cpu": 24 * 2**20, "cuda": 256 * 2**20}
"""Bytes that the largest map of a joined pass may take. CPU: below 32 MiB, from which on glibc takes the memory of a map from the system
and returns it, at a higher cost than joining saves. GPU: a pass takes 3.2 times its largest map at its peak, 0.8 GiB then; larger maps
occupy a GPU one batch at a time."""


def steps_in_a_pass(generator: nn.Module, z: Float[Tensor, "b d"], labels: Int[Tensor, " b"] | None, *, steps: int) -> int:
    """Return for how many of ``steps`` discriminator steps, with latents and labels like these, the images are drawn in one pass.

    It is a function of the network and of shapes. 1: the passes of ``generator`` over several batches cannot be joined, or are too large.
    """
    if steps == 1 or not can_be_joined(generator):
        return 1
    limit = LARGEST_MAP.get(z.device.type, LARGEST_MAP["cuda"])
    return max(1, min(steps, limit // (len(z) * largest_map(generator, z[:1], None if labels is None else labels[:1]))))


@torch.no_grad()
def largest_map(generator: nn.Module, z: Float[Tensor, "1 d"], labels: Int[Tensor, " 1"] | None) -> int:
    """Return the bytes of the largest result of any layer of ``generator`` for one image."""
    sizes = [1]

    def note(_module: nn.Module, _inputs: object, result: object) -> None:
        if isinstance(result, Tensor):
            sizes.append(result.nbytes)

    hooks = [module.register_forward_hook(note) for module in generator.modules()]
    try:
        with evaluating(generator):
            generator(z.to(next(generator.parameters(), z).dtype), labels)
    finally:
        for hook in hooks:
            hook.remove()
    return max(sizes)


@torch.no_grad()
def with_fakes(generator: nn.Module, batches: Sequence[DiscriminatorInputs]) -> list[DiscriminatorInputs]:
    """Return the inputs of discriminator steps with their generated images, from one pass of ``generator`` in training mode."""
    labels = [batch.fake_labels for batch in batches if batch.fake_labels is not None]
    with joined_batches(len(batches)):
        images: Float[Tensor, "n c s s"] = generator(torch.cat([batch.z for batch in batches]), torch.cat(labels) if labels else None)
    return [batch._replace(fakes=fakes) for batch, fakes in zip(batches, images.chunk(len(batches)), strict=True)]
