"""Fixed latents and labels of the gallery's pictures, their layouts, and spherical interpolation.

Row i of a sheet depends on (seed, purpose, i) alone: a larger sheet begins with the smaller one, and the same seed shows the same
latents of every checkpoint and of every run with that latent dimension.

Spherical interpolation: Shoemake, "Animating rotation with quaternion curves", SIGGRAPH 1985; for latents: White, "Sampling
generative networks", arXiv 1609.04468 (2016), section 2.1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gconv_gan.sampling.latents import draw_labels, draw_latents, numbered_labels, numbered_latents


@dataclass(frozen=True)
class Sheet:
    """Latents ``z`` [n, d] and classes ``y`` [n] (None for an unconditional generator) of the images of a grid, row by row."""

    z: Float[Tensor, "n d"]
    y: Int[Tensor, " n"] | None


def fixed_latents(seed: int, purpose: str, *, count: int, latent_dim: int) -> Float[Tensor, "n d"]:
    """Return z ~ N(0, I), [count, latent_dim]; row i is a function of (seed, purpose, i)."""
    return draw_latents(seed, f"gallery/{purpose}", torch.arange(count), latent_dim=latent_dim)


def fixed_labels(seed: int, purpose: str, *, count: int, num_classes: int) -> Int[Tensor, " n"]:
    """Return uniform classes [count]; entry i is a function of (seed, purpose, i)."""
    return draw_labels(seed, f"gallery/{purpose}/labels", torch.arange(count), num_classes=num_classes)


def numbered_sheet(
    seed: int, *, count: int, latent_dim: int, num_classes: int | None, label: int | None = None, threshold: float | None = None
) -> Sheet:
    """Return the latents and classes of the images numbered 0 to count - 1, as ``gconv-gan sample`` draws them; ``label``: of one class."""
    numbers = torch.arange(count)
    if num_classes is None:
        y = None
    else:
        y = numbered_labels(seed, numbers, num_classes=num_classes) if label is None else torch.full((count,), label)
    return Sheet(numbered_latents(seed, numbers, latent_dim=latent_dim, threshold=threshold), y)


def random_sheet(seed: int, purpose: str, *, count: int, latent_dim: int, num_classes: int | None) -> Sheet:
    """Return independent latents, and independent uniform classes where the generator has classes."""
    labels = None if num_classes is None else fixed_labels(seed, purpose, count=count, num_classes=num_classes)
    return Sheet(fixed_latents(seed, purpose, count=count, latent_dim=latent_dim), labels)


def class_sheet(seed: int, purpose: str, *, classes: Sequence[int], columns: int, latent_dim: int) -> Sheet:
    """Return one row per class; column j has the same latent in every row, so that only the class changes down a column."""
    shared = fixed_latents(seed, purpose, count=columns, latent_dim=latent_dim)
    return Sheet(shared.repeat(len(classes), 1), torch.tensor(classes).repeat_interleave(columns))


def slerp_sheet(seed: int, purpose: str, *, rows: int, columns: int, latent_dim: int, num_classes: int | None) -> Sheet:
    """Return ``rows`` interpolations between two latents, ``columns`` images with both ends; row r has class r mod num_classes."""
    ends = fixed_latents(seed, purpose, count=2 * rows, latent_dim=latent_dim)
    steps = torch.linspace(0, 1, columns)
    walks = torch.cat([slerp(start, stop, steps) for start, stop in zip(ends[0::2], ends[1::2], strict=True)])
    labels = None if num_classes is None else torch.arange(rows).remainder(num_classes).repeat_interleave(columns)
    return Sheet(walks, labels)


def slerp(a: Float[Tensor, " d"], b: Float[Tensor, " d"], t: Float[Tensor, " t"]) -> Float[Tensor, "t d"]:
    r"""Return the interpolation along the great circle between two directions, and linearly between the two norms.

    .. math::
        \operatorname{slerp}(a, b; t) = \bigl((1-t)\lVert a\rVert + t\lVert b\rVert\bigr)
        \left(\frac{\sin((1-t)\,\omega)}{\sin\omega}\,\hat a + \frac{\sin(t\,\omega)}{\sin\omega}\,\hat b\right),
        \qquad \cos\omega = \hat a\cdot\hat b,

    with :math:`\hat a = a/\lVert a\rVert`. The norm of a Gaussian latent of many dimensions is nearly constant; the straight line
    between two of them has points of much smaller norm, the great circle does not. For parallel vectors (:math:`\omega \to 0`) the
    weights tend to 1 - t and t. Computed in float64, returned in the dtype of ``a``.

    Args:
        a: start, t = 0.
        b: end, t = 1.
        t: positions.

    Raises:
        ValueError: if a vector is zero, which has no direction, or the two are opposite, between which no great circle is the shortest.

    """
    start, stop, position = a.double(), b.double(), t.double()[:, None]
    norm_start, norm_stop = start.norm(), stop.norm()
    if norm_start == 0 or norm_stop == 0:
        raise ValueError("slerp needs two directions, but one of the vectors is zero")
    start, stop = start / norm_start, stop / norm_stop
    # cos w = a.b loses half the digits near 0 and pi; the chord lengths |a-b| = 2 sin(w/2) and |a+b| = 2 cos(w/2) do not.
    omega = 2 * torch.atan2((start - stop).norm(), (start + stop).norm())
    if torch.pi - omega < 1e-6:
        raise ValueError("slerp between opposite vectors is not defined: every great circle through them is equally short")
    if omega < 1e-6:
        weights = 1 - position, position
    else:
        weights = torch.sin((1 - position) * omega) / torch.sin(omega), torch.sin(position * omega) / torch.sin(omega)
    norm = (1 - position) * norm_start + position * norm_stop
    walk: Tensor = norm * (weights[0] * start + weights[1] * stop)
    return walk.to(a.dtype)
