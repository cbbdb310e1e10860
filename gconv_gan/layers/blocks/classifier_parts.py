"""Choices of classifiers besides layers: the network's own definition, and BatchNorm with a BatchNorm of the images."""

from pydantic import PositiveFloat
from torch import nn

from gconv_gan.layers.norms.batch_norm import BatchNorm2d


def as_defined() -> None:
    """The part of the network's own definition."""


def classifier_batch_norm(
    num_features: int, *, affine: bool = True, initial_scale: PositiveFloat = 1.0, normalise_input: bool = False
) -> nn.Module:
    """Batch normalisation over the batch of all processes, optionally of the images too.

    Returns a ``BatchNorm2d``.

    Args:
        num_features: channels.
        affine: Learn a scale and a shift per channel; without them and with a frozen head only the directions of the weights matter.
        initial_scale: γ before training, in every layer (0.1 goes with the optimiser's norm_scale_divisor = 100).
        normalise_input: Batch-normalise the images too, with γ at 0.58 of initial_scale and no shift, instead of standardise. The
            builder of the network adds it.

    Raises:
        ValueError: for an initial scale of norms that have none.

    """
    if not affine and initial_scale != 1:
        raise ValueError(f"affine = false leaves norms without a scale, which initial_scale = {initial_scale} would start: set one of them")
    return BatchNorm2d(num_features, affine=affine, initial_scale=initial_scale)
