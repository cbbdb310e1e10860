"""Intra-class Fréchet distance: one distance per class, between its fakes and its reals.

Miyato and Koyama, "cGANs with Projection Discriminator", arXiv 1802.05637 (2018), section 4.1. A class has few images, and the
bias of a Fréchet distance falls as 1/n: distances at different class sizes are not comparable, so the card records the sizes.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gconv_gan.metrics.frechet import frechet_distance_of_features
from gconv_gan.metrics.statistics import moments_of


def class_sizes(labels: Int[Tensor, " n"], num_classes: int) -> tuple[int, ...]:
    """Return the number of images of each class; longer than ``num_classes`` if a label is larger."""
    return tuple(torch.bincount(labels.cpu(), minlength=num_classes).tolist())


def intra_class_distances(
    fake: Float[Tensor, "m d"],
    fake_labels: Int[Tensor, " m"],
    real: Float[Tensor, "n d"],
    real_labels: Int[Tensor, " n"],
    *,
    num_classes: int,
) -> tuple[float, ...]:
    """Return the Fréchet distance of the fakes from the reals of each class; the score is the mean over the classes.

    Args:
        fake: features [m, d].
        fake_labels: [m], the requested class of each fake.
        real: features [n, d].
        real_labels: [n].
        num_classes: number of classes.

    Raises:
        ValueError: a class has fewer than two fakes or reals, or features are not finite.

    """
    distances = []
    for index in range(num_classes):
        ours, theirs = (rows[(labels == index).to(rows.device)] for rows, labels in ((fake, fake_labels), (real, real_labels)))
        distances.append(frechet_distance_of_features(ours, moments_of(theirs)))
    return tuple(distances)
