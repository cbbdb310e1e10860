r"""Inverse square roots of symmetric positive matrices by Newton's iteration, in products alone.

Higham, "Functions of Matrices", 2008, section 6.7: of the two algebraically equal forms, the coupled one is numerically stable;
the uncoupled recursion of arXiv 1904.03441 amplifies rounding without bound (float32: no correct digits from 10 steps on).
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from gconv_gan.layers.constants import constant

NewtonScale = Literal["trace", "frobenius"]


def inverse_square_root(matrices: Float[Tensor, "*g d d"], *, iterations: int, scale: NewtonScale) -> Float[Tensor, "*g d d"]:
    r"""Return approximately :math:`\Sigma^{-1/2}` of each symmetric positive matrix after T iterations.

    .. math::
        Y_0 = \Sigma / s, \; Z_0 = I, \qquad T_t = (3 I - Y_t) / 2, \quad Y_{t+1} = T_t^2\, Y_t, \quad Z_{t+1} = Z_t T_t, \qquad
        \Sigma^{-1/2} \approx Z_T / \sqrt s

    with s the trace or the Frobenius norm. An eigenvalue :math:`\lambda` of :math:`\Sigma` ends in
    :math:`Z \Sigma Z / s` as :math:`v_T`, where :math:`v_0 = \lambda / s` and :math:`v_{t+1} = v_t (3 - v_t)^2 / 4 \le 1`: few
    iterations whiten partially, small directions least, and the Frobenius norm, the smaller scale, further than the trace.
    3T - 3 products; call it with float32 or float64 and without autocast.
    """
    size = matrices.diagonal(dim1=-2, dim2=-1).sum(-1) if scale == "trace" else torch.linalg.matrix_norm(matrices)
    y = matrices / size[..., None, None]
    three_halves = scaled_identity(matrices.shape[-1], 1.5, matrices.dtype, matrices.device)
    z = t = torch.sub(three_halves, y, alpha=0.5)
    for _ in range(iterations - 1):
        y = t @ t @ y
        t = torch.sub(three_halves, y, alpha=0.5)
        z = z @ t
    return z * size.rsqrt()[..., None, None]


@constant
def scaled_identity(side: int, scale: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return scale · I [side, side]."""
    return torch.eye(side, dtype=dtype, device=device) * scale
