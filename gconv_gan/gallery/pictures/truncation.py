r"""Truncation of latents, which raises fidelity and lowers diversity.

Of z: Brock, Donahue, Simonyan, "Large Scale GAN Training for High Fidelity Natural Image Synthesis", arXiv 1809.11096 (2018),
section 3.1. Of w = f(z, y), where the generator has a mapping network f: Karras, Laine, Aila, "A Style-Based Generator Architecture for
Generative Adversarial Networks", arXiv 1812.04948 (2019), appendix B.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from gconv_gan.gallery.latents import UNCONDITIONAL, random_sheet
from gconv_gan.gallery.pictures.drawing import Drawing
from gconv_gan.gallery.pictures.grid import grid_png
from gconv_gan.gallery.subject import Subject, generate
from gconv_gan.models.gan.mapping import MappedGenerator


def truncate(z: Float[Tensor, "n d"], threshold: float) -> Float[Tensor, "n d"]:
    r"""Map a normal latent to the normal distribution truncated to [-threshold, threshold], entry by entry and in order.

    .. math:: z' = \Phi^{-1}\bigl(\Phi(-t) + \Phi(z)\,(\Phi(t) - \Phi(-t))\bigr)

    with :math:`\Phi` the normal distribution function. BigGAN draws entries beyond t anew, which gives the same distribution; the
    quantile map is continuous in t, keeps the order of the entries, and is odd: :math:`(-z)' = -z'`. Computed in float64.

    Args:
        z: entries of N(0, 1).
        threshold: t; infinity leaves z as it is.

    Raises:
        ValueError: if the threshold is not positive.

    """
    if not threshold > 0:
        raise ValueError(f"a threshold of truncation must be positive, not {threshold}")
    if math.isinf(threshold):
        return z
    # On |z| with erf, whose inverse is exact near 0: Φ(z) - 1/2 = erf(z / √2) / 2, so erf(z'/√2) = erf(z/√2) erf(t/√2).
    shrunk = torch.erf(z.double() / math.sqrt(2)) * math.erf(threshold / math.sqrt(2))
    return (torch.erfinv(shrunk) * math.sqrt(2)).clamp(-threshold, threshold).to(z.dtype)


def draw_truncation(subject: Subject, *, seed: int, levels: Sequence[float], columns: int) -> list[Drawing]:
    """Draw samples of the first latents, a row per threshold of z, untruncated ones last; none for a generator with a mapping network."""
    if isinstance(subject.generator, MappedGenerator):
        return []
    sheet = random_sheet(seed, UNCONDITIONAL, rows=1, columns=columns, latent_dim=subject.latent_dim, num_classes=subject.num_classes)
    rows = [generate(subject.generator, truncate(sheet.z, level), sheet.y) for level in (*levels, math.inf)]
    labels = (*(f"{level:g}" for level in levels), "none")
    return [
        Drawing(
            file="truncation.png",
            content=grid_png(torch.cat(rows), columns=columns),
            title="Truncated z",
            caption="A row is a threshold: the entries of the latent z follow a normal distribution truncated at it. "
            "A column is one latent; the last row is not truncated and repeats the first samples of this page.",
            alt=f"Grid of generated images with a row for each threshold of truncation: {', '.join(labels)}.",
            row_labels=labels,
        )
    ]


def draw_psi_truncation(subject: Subject, *, seed: int, psis: Sequence[float], columns: int) -> list[Drawing]:
    r"""Draw samples of the first latents, a row per ψ, untruncated ones last; draw nothing without a mapping network.

    .. math:: w' = \bar w + \psi\,(w - \bar w)

    with :math:`\bar w` the running mean of w in training.
    """
    if not isinstance(subject.generator, MappedGenerator):
        return []
    sheet = random_sheet(seed, UNCONDITIONAL, rows=1, columns=columns, latent_dim=subject.latent_dim, num_classes=subject.num_classes)
    rows = [generate(subject.generator.truncated(psi), sheet.z, sheet.y) for psi in (*psis, 1.0)]
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
        )
    ]
