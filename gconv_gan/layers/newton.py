r"""Inverse square roots of symmetric positive matrices by Newton's iteration, in products alone.

Higham, "Functions of Matrices", 2008, section 6.7: of the two algebraically equal forms, the coupled one is numerically stable;
the uncoupled recursion of arXiv 1904.03441 amplifies rounding without bound (float32: useless from 10 steps on).
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

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
    y, identity = matrices / size[..., None, None], torch.eye(matrices.shape[-1], dtype=matrices.dtype, device=matrices.device)
    z = identity.expand_as(matrices)
    for step in range(iterations):
        t = 1.5 * identity - 0.5 * y
        z = t if step == 0 else z @ t
        if step < iterations - 1:
            y = t @ t @ y
    return z * size.rsqrt()[..., None, None]
