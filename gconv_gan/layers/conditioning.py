"""What a layer may depend on besides its input: the latent vector and the class.

A layer that needs it subclasses ``Conditioned`` and takes ``forward(x, condition)``; every other layer keeps ``forward(x)``.
Blocks call ``apply(layer, x, condition)`` and never ask which kind they hold. The marker class is the idea of
``ConditionedModule`` in k-diffusion's ``layers.py``.
"""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor, nn


@dataclass(frozen=True)
class Condition:
    """The latent ``z`` [B, d] and the class ``y`` [B] of each image of a batch; either may be absent."""

    z: Float[Tensor, "b d"] | None = None
    y: Int[Tensor, " b"] | None = None

    def require_z(self, layer: str, latent_dim: int | None = None) -> Float[Tensor, "b d"]:
        """Return z; raise ``ValueError`` naming ``layer`` where there is none, or its length is not the ``latent_dim`` given."""
        if self.z is None:
            raise ValueError(f"{layer} is a function of the latent vector, but its condition has no z")
        if latent_dim not in (None, self.z.shape[1]):
            raise ValueError(f"{layer} was built for latent_dim={latent_dim}, but its condition has {self.z.shape[1]}")
        return self.z

    def require_y(self, layer: str) -> Int[Tensor, " b"]:
        """Return y; raise ``ValueError`` naming ``layer`` where there is none."""
        if self.y is None:
            raise ValueError(f"{layer} is class-conditional, but its condition has no y")
        return self.y


class Conditioned(nn.Module):
    """Marker: ``forward(x, condition)`` instead of ``forward(x)``."""


def apply(layer: nn.Module, x: Tensor, condition: Condition) -> Tensor:
    """Return ``layer(x, condition)`` for a ``Conditioned`` layer and ``layer(x)`` for any other."""
    result = layer(x, condition) if isinstance(layer, Conditioned) else layer(x)
    assert isinstance(result, Tensor)
    return result
