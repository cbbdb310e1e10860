"""Random draws as pure functions: (seed, stream, step, index in the global batch) decides every number.

Nothing in the package draws from torch's global generator once the networks are built. A stream names a purpose ("latents_d",
"eval"); a step is a counter of that purpose. A draw is always made for the *global* batch and then sliced, so it does not
depend on how many processes share the batch. The idea of seeding from counters is that of EDM2's training loop.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gconv_gan.runtime.random import stream_seed


def generator_for(seed: int, stream: str, step: int) -> torch.Generator:
    """Return a CPU generator that depends on (seed, stream, step) alone."""
    return torch.Generator().manual_seed(stream_seed(seed, stream, step))


def draw_latents(seed: int, stream: str, step: int, *, count: int, latent_dim: int, threshold: float | None = None) -> Float[Tensor, "b d"]:
    """Draw z ~ N(0, I), [count, latent_dim], for the global batch.

    With a ``threshold``, entries of a larger absolute value are drawn anew until there are none: z is then truncated normal (Brock,
    Donahue, Simonyan, arXiv 1809.11096, section 3.1), and what lies within the threshold stays as it was without.

    Raises:
        ValueError: the threshold is not positive.

    """
    draw = generator_for(seed, stream, step)
    z = torch.randn(count, latent_dim, generator=draw)
    if threshold is not None:
        if threshold <= 0:
            raise ValueError(f"a threshold of truncation must be positive, not {threshold}")
        while (outside := z.abs() > threshold).any():
            z[outside] = torch.randn(int(outside.sum()), generator=draw)
    return z


def draw_labels(seed: int, stream: str, step: int, *, count: int, num_classes: int) -> Int[Tensor, " b"]:
    """Draw labels uniform over the classes, [count], for the global batch."""
    return torch.randint(num_classes, (count,), generator=generator_for(seed, stream, step))


def draw_signs(seed: int, stream: str, step: int, *, count: int) -> Int[Tensor, " b"]:
    """Draw fair coins, 0 or 1, [count], for the global batch."""
    return torch.randint(2, (count,), generator=generator_for(seed, stream, step))


def draw_uniform(seed: int, stream: str, step: int, *, count: int, per_image: int) -> Float[Tensor, "b n"]:
    """Draw numbers uniform in [0, 1), [count, per_image], for the global batch."""
    return torch.rand(count, per_image, generator=generator_for(seed, stream, step))
