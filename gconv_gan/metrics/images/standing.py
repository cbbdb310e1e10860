"""Standing statistics: the running statistics of BatchNorm and similar layers, re-estimated for the scored weights.

Brock, Donahue, Simonyan, "Large Scale GAN Training for High Fidelity Natural Image Synthesis", arXiv 1809.11096 (2018), appendix B.
"""

import torch
from torch import nn

from gconv_gan.layers.norms.running_statistics import estimating_statistics
from gconv_gan.metrics.images.sources import shape_of
from gconv_gan.runtime.precision import float32_arithmetic
from gconv_gan.sampling.latents import draw_labels, draw_latents

STANDING = "standing, 16 batches of 64"  # text of score cards for the defaults below


def set_standing_statistics(
    generator: nn.Module, *, seed: int, batches: int = 16, batch_size: int = 64, threshold: float | None = None
) -> None:
    """Replace all running statistics by plain averages over ``batches`` batches of the generator's own images.

    Latents and labels depend on (seed, "standing", number of the image) alone, and every process computes the same values, without
    communication. Latents are truncated at ``threshold``, as in sampling.
    """
    latent_dim, classes = shape_of(generator)
    device = next(generator.parameters()).device
    with estimating_statistics(generator), float32_arithmetic(device):
        for index in range(batches):
            images = torch.arange(batch_size * index, batch_size * (index + 1), device=device)
            z = draw_latents(seed, "standing", images, latent_dim=latent_dim, threshold=threshold)
            generator(z, None if classes is None else draw_labels(seed, "standing_labels", images, num_classes=classes))
