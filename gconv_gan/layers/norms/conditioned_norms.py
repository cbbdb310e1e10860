"""The norms of a generator: BatchNorm with the constants of the published networks, and any norm with scales of the condition."""

from collections.abc import Callable
from typing import Annotated

from pydantic import PositiveFloat
from torch import nn

from gconv_gan.config.ranges import Fraction
from gconv_gan.config.schema import Fixed, give, takes, value_of
from gconv_gan.layers.norms.batch_norm import BatchNorm2d, ClassConditionalNorm2d, LatentNorm2d


def generator_batch_norm(
    num_features: int,
    *,
    eps: PositiveFloat = 1e-5,
    momentum: Fraction = 0.1,
    affine: Annotated[bool, Fixed] = True,
    initial_scale: PositiveFloat = 1.0,
    last_initial_scale: PositiveFloat = 1.0,
) -> nn.Module:
    """BatchNorm; in a conditional run with scale and shift per class, in BigGAN linear in the block's chunk of z and the class embedding.

    Returns the norm without conditions; the builder of the network puts it into a conditional norm.

    Args:
        num_features: channels.
        eps: Added to the variance (pfnet: 2e-5; StudioGAN: 1e-4).
        momentum: Weight of a batch in the running statistics.
        affine: learn scale and shift per channel.
        initial_scale: γ before training, in every layer (0.1 goes with the optimiser's norm_scale_divisor = 100); 1: the network's own
            start. It is applied to the complete network, see ``start_batch_norms``.
        last_initial_scale: γ of the network's last norm, which sets the range before the tanh, if initial_scale is not 1.

    """
    return BatchNorm2d(num_features, eps=eps, momentum=momentum, affine=affine)


def conditioned(
    norm: Callable[..., nn.Module], *, latent_dim: int, num_classes: int | None, by_vector: bool = False
) -> Callable[[int], nn.Module]:
    """Return ``norm(channels)`` whose scale and shift are functions of the condition.

    A norm that takes a ``latent_dim`` receives it and conditions itself. Any other norm with a keyword ``affine`` that is not off is built
    without scale and shift and gets those of the vector or of the class. All other norms are not changed.

    Args:
        norm: constructor of a norm from a channel count.
        latent_dim: length of the vector that the network passes to its blocks.
        num_classes: number of classes with their own scale and shift; None: no classes.
        by_vector: compute scale and shift from the vector, which includes the class.

    """
    if takes(norm, "latent_dim"):
        found: Callable[[int], nn.Module] = give(norm, latent_dim=latent_dim, num_classes=None if by_vector else num_classes)
        return found
    if not value_of(norm, "affine") or not (by_vector or num_classes is not None):
        return norm
    if by_vector:
        return lambda channels: LatentNorm2d(norm(channels, affine=False), channels, latent_dim)
    assert num_classes is not None
    classes = num_classes
    return lambda channels: ClassConditionalNorm2d(norm(channels, affine=False), channels, classes)


def unconditioned(norm: Callable[..., nn.Module], *, latent_dim: int, num_classes: int | None) -> Callable[[int], nn.Module]:
    """Return ``norm(channels)`` for layers that do not depend on the class: only a norm that takes a ``latent_dim`` gets the condition."""
    return conditioned(norm, latent_dim=latent_dim, num_classes=num_classes) if takes(norm, "latent_dim") else norm
