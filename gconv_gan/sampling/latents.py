"""Latents and labels of numbered images: image i of a seed has the same ones at any batch size, on any device and process."""

from jaxtyping import Float, Int
from torch import Tensor

from gconv_gan.runtime.random import Stream

STEP = 0  # the number of an image identifies it
LATENTS, LABELS = "eval", "eval_labels"  # random streams of the numbered images


def draw_latents(
    seed: int, purpose: str, images: Int[Tensor, " n"], *, latent_dim: int, threshold: float | None = None
) -> Float[Tensor, "n d"]:
    """Return z ~ N(0, I) of the images with these numbers, [n, latent_dim], on the device of the numbers.

    With a ``threshold``, z is truncated normal (Brock, Donahue, Simonyan, arXiv 1809.11096, section 3.1): each entry is moved to the same
    quantile of the normal distribution within [-threshold, threshold].

    Raises:
        ValueError: the threshold is not positive.

    """
    return Stream(seed, purpose).normal(STEP, images, latent_dim, threshold=threshold)


def draw_labels(seed: int, purpose: str, images: Int[Tensor, " n"], *, num_classes: int) -> Int[Tensor, " n"]:
    """Return labels of the images with these numbers, uniform over the classes, on the device of the numbers."""
    return Stream(seed, purpose).integers(STEP, images, below=num_classes)


def numbered_latents(seed: int, images: Int[Tensor, " n"], *, latent_dim: int, threshold: float | None = None) -> Float[Tensor, "n d"]:
    """Return the latents of the images with these numbers as scores, samples and galleries use them; see ``draw_latents``."""
    return draw_latents(seed, LATENTS, images, latent_dim=latent_dim, threshold=threshold)


def numbered_labels(seed: int, images: Int[Tensor, " n"], *, num_classes: int) -> Int[Tensor, " n"]:
    """Return the labels of the images with these numbers as scores, samples and galleries use them; see ``draw_labels``."""
    return draw_labels(seed, LABELS, images, num_classes=num_classes)
