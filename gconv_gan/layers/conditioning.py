"""The condition of a layer: the latent vector and the class.

A layer that needs it subclasses ``Conditioned`` and takes ``forward(x, condition)``; every other layer keeps ``forward(x)``. Blocks call
``apply(layer, x, condition)`` for both kinds. A bare tensor in place of the condition means z. The marker class follows
``ConditionedModule`` in k-diffusion's ``layers.py``.
"""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn


@dataclass(frozen=True)
class Condition:
    """The latent ``z`` [B, d] and the class ``y`` [B] of each image of a batch; either may be absent."""

    z: Float[Tensor, "b d"] | None = None
    y: Int[Tensor, " b"] | None = None

    def require_z(self, layer: str, latent_dim: int | None = None) -> Float[Tensor, "b d"]:
        """Return z; raise ``ValueError`` naming ``layer`` if it is None or its shape is not [B, ``latent_dim``]."""
        if self.z is None:
            raise ValueError(f"{layer} is a function of the latent vector, but its condition has no z")
        if self.z.ndim != 2:
            raise ValueError(f"{layer} takes latent vectors of shape [batch, {latent_dim or 'd'}], not {list(self.z.shape)}")
        if latent_dim not in (None, self.z.shape[1]):
            raise ValueError(f"{layer} was built for latent_dim={latent_dim}, but its condition has {self.z.shape[1]}")
        return self.z

    def require_y(self, layer: str) -> Int[Tensor, " b"]:
        """Return y; raise ``ValueError`` naming ``layer`` if it is None."""
        if self.y is None:
            raise ValueError(f"{layer} is class-conditional, but its condition has no y: give Condition(z, y)")
        return self.y


def as_condition(condition: Condition | Tensor) -> Condition:
    """Return a condition unchanged, and a bare tensor as ``Condition(z=tensor)``.

    Raises:
        ValueError: for a tensor of integers, which are classes and not latent vectors.
        TypeError: for anything else.

    """
    if isinstance(condition, Condition):
        return condition
    if not isinstance(condition, Tensor):
        raise TypeError(f"the condition of a layer is a Condition, or a tensor of latent vectors, not {type(condition).__name__}")
    if not condition.is_floating_point():
        raise ValueError(f"a bare tensor stands for latent vectors, but this one holds {condition.dtype}: give classes as Condition(y=...)")
    return Condition(condition)


class Conditioned(nn.Module):
    """Marker: ``forward(x, condition)`` instead of ``forward(x)``; a call also takes the latent vectors [B, d] as ``condition``."""

    def __call__(self, x: Tensor, condition: Condition | Tensor, **options: Any) -> Tensor:
        """Return ``forward(x, condition, **options)``, hooks included; ``as_condition`` converts a bare tensor."""
        result: Tensor = super().__call__(x, as_condition(condition), **options)
        return result


def apply(layer: nn.Module, x: Tensor, condition: Condition | Tensor, **options: Any) -> Tensor:
    """Return ``layer(x, condition)`` for a ``Conditioned`` layer and ``layer(x)`` for any other; a bare tensor is z."""
    result = layer(x, condition, **options) if isinstance(layer, Conditioned) else layer(x, **options)
    assert isinstance(result, Tensor)
    return result
