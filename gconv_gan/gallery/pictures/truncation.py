r"""Truncation of latents, which raises fidelity and lowers diversity.

Of z: Brock, Donahue, Simonyan, "Large Scale GAN Training for High Fidelity Natural Image Synthesis", arXiv 1809.11096 (2018),
section 3.1. Of w = f(z, y), where the generator has a mapping network f: Karras, Laine, Aila, "A Style-Based Generator Architecture for
Generative Adversarial Networks", arXiv 1812.04948 (2019), appendix B.
"""

from collections.abc import Sequence

import torch

from gconv_gan.gallery.pictures.drawing import Drawing
from gconv_gan.gallery.pictures.grid import grid_png
from gconv_gan.gallery.trained_generator import TrainedGenerator
from gconv_gan.models.gan.mapping import MappedGenerator


def draw_truncation(trained: TrainedGenerator, *, seed: int, levels: Sequence[float], columns: int) -> list[Drawing]:
    """Return a grid of the first latents, a row per threshold of z, the last row untruncated; no drawing with a mapping network."""
    if isinstance(trained.generator, MappedGenerator):
        return []
    thresholds = (*levels, None)
    images = trained.rows([trained.numbered(seed, columns, threshold=threshold) for threshold in thresholds])
    labels = (*(f"{level:g}" for level in levels), "none")
    return [
        Drawing(
            file="truncation.png",
            content=grid_png(images.flatten(0, 1), columns=columns),
            title="Truncated z",
            caption="A row is a threshold: the entries of the latent z follow a normal distribution truncated at it. "
            "A column is one latent; the last row is not truncated and repeats the first samples of this page.",
            alt=f"Grid of generated images with a row for each threshold of truncation: {', '.join(labels)}.",
            row_labels=labels,
            samples=tuple(trained.samples(seed, columns, truncation=threshold) for threshold in thresholds),
        )
    ]


def draw_psi_truncation(trained: TrainedGenerator, *, seed: int, psis: Sequence[float], columns: int) -> list[Drawing]:
    r"""Return a grid of the first latents, a row per ψ, the last row untruncated; no drawing without a mapping network.

    .. math:: w' = \bar w + \psi\,(w - \bar w)

    with :math:`\bar w` the running mean of w in training.
    """
    if not isinstance(trained.generator, MappedGenerator):
        return []
    rows = [trained.numbered_images(seed, columns, psi=psi) for psi in (*psis, None)]
    labels = (*(f"ψ {psi:g}" for psi in psis), "none")
    return [
        Drawing(
            file="truncation-w.png",
            content=grid_png(torch.cat(rows), columns=columns),
            title="Truncated w",
            caption="A row is a ψ: the mapped latent w is replaced by w̄ + ψ (w − w̄) with the mean w̄; at ψ = 0 every latent is the mean. "
            "A column is one latent; the last row (ψ = 1) is not truncated and repeats the first samples of this page.",
            alt=f"Grid of generated images with a row for each ψ of the truncation of w: {', '.join(labels)}.",
            row_labels=labels,
            samples=tuple(trained.samples(seed, columns, truncation=psi) for psi in (*psis, None)),
        )
    ]
