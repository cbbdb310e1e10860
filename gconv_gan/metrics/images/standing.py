"""Standing statistics: the running statistics of BatchNorm and its kin re-estimated for the weights that are scored.

Brock, Donahue, Simonyan, "Large Scale GAN Training for High Fidelity Natural Image Synthesis", arXiv 1809.11096 (2018), appendix B.
"""

import torch
from torch import nn

from gconv_gan.layers.norms.running_statistics import RunningStatistics
from gconv_gan.metrics.images.sources import shape_of
from gconv_gan.runtime.modes import evaluating
from gconv_gan.sampling.latents import draw_labels, draw_latents

STANDING = "standing, 16 batches of 64"  # what score cards say of the defaults below


@torch.no_grad()
def set_standing_statistics(
    generator: nn.Module, *, seed: int, batches: int = 16, batch_size: int = 64, threshold: float | None = None
) -> None:
    """Replace all running statistics by plain averages over ``batches`` batches of the generator's own images.

    Latents and labels depend on (seed, "standing", number of the image) alone, and every process computes the same, so nothing is
    exchanged. Latents are truncated at ``threshold``: statistics belong to the distribution that is sampled.
    """
    norms = [module for module in generator.modules() if isinstance(module, nn.BatchNorm2d | RunningStatistics)]
    latent_dim, classes = shape_of(generator)
    device = next(generator.parameters()).device
    momenta = [norm.momentum for norm in norms]
    with evaluating(generator):
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a cumulative average
            norm.train()
            if isinstance(norm, RunningStatistics):
                norm.over_processes = False
        for index in range(batches):
            images = torch.arange(batch_size * index, batch_size * (index + 1), device=device)
            z = draw_latents(seed, "standing", images, latent_dim=latent_dim, threshold=threshold)
            generator(z, None if classes is None else draw_labels(seed, "standing_labels", images, num_classes=classes))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
