"""Choices of classifiers besides layers: the network's own definition, and BatchNorm with a BatchNorm of the images."""

from pydantic import PositiveFloat
from torch import nn

from gconv_gan.layers.norms.batch_norm import BatchNorm2d


def as_defined() -> None:
    """The part of the network's own definition."""


def classifier_batch_norm(num_features: int, *, initial_scale: PositiveFloat = 1.0, normalise_input: bool = False) -> nn.Module:
    """Batch normalisation over the batch of all processes, optionally of the images too.

    Returns a ``BatchNorm2d``.

    Args:
        num_features: channels.
        initial_scale: γ before training, in every layer (0.1 goes with the optimiser's norm_scale_divisor = 100).
        normalise_input: Batch-normalise the images too, with γ at 0.58 of initial_scale and no shift, instead of standardise. The
            builder of the network adds it.

    """
    return BatchNorm2d(num_features, initial_scale=initial_scale)
