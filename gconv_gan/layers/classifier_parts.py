"""What classifiers choose among besides layers: the network's own definition, and BatchNorm of the images too."""

from pydantic import PositiveFloat
from torch import nn

from gconv_gan.layers.batch_norm import BatchNorm2d


def as_defined() -> None:
    """What the network's definition has."""


def classifier_batch_norm(num_features: int, *, initial_scale: PositiveFloat = 1.0, normalise_input: bool = False) -> nn.Module:
    """Batch normalisation over the batch of all processes; of the images too, if asked for.

    Args:
        num_features: channels.
        initial_scale: γ before training, in every layer (0.1 goes with the optimiser's norm_scale_divisor = 100).
        normalise_input: Batch-normalise the images too, with γ at 0.58 of initial_scale and no shift; in the place of standardise. It is
            the network's builder that does it.

    """
    return BatchNorm2d(num_features, initial_scale=initial_scale)
