r"""Fréchet distance between two Gaussians, exactly and fast.

Paper: Heusel, Ramsauer, Unterthiner, Nessler, Hochreiter, "GANs Trained by a Two Time-Scale Update Rule Converge to a Local
Nash Equilibrium", arXiv 1706.08500 (2017), equation 6:

.. math:: d^2 = |\mu_1 - \mu_2|^2 + \mathrm{tr}\,\Sigma_1 + \mathrm{tr}\,\Sigma_2 - 2\,\mathrm{tr}\,(\Sigma_1 \Sigma_2)^{1/2}.

The last trace is the sum of the roots of the eigenvalues of :math:`\Sigma_1\Sigma_2`, which two *symmetric* matrices share:
:math:`\Sigma_2^{1/2}\Sigma_1\Sigma_2^{1/2}` [d, d], and, for n₁ < d samples with centred rows
:math:`A_1 = (X_1 - \mu_1)/\sqrt{n_1 - 1}`, the smaller :math:`A_1\Sigma_2 A_1^\top` [n₁, n₁]. A symmetric eigensolver
returns real values, so no imaginary part has to be discarded.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from gconv_gan.metrics.statistics import Moments, moments_of

# A smallest eigenvalue below minus this share of the largest is not round-off: the statistics are damaged.
NEGATIVE_EIGENVALUE = 1e-6


def _eigenvalue_floor(eigenvalues: Float64[Tensor, " k"]) -> Float64[Tensor, ""]:
    """Return k·ε·λ_max, below which an eigenvalue is round-off; each such eigenvalue would add a root of order √ε."""
    return len(eigenvalues) * torch.finfo(eigenvalues.dtype).eps * eigenvalues.amax()


def _checked(matrix: Float64[Tensor, "k k"], what: str) -> Float64[Tensor, "k k"]:
    if not torch.isfinite(matrix).all():
        raise ValueError(f"{what} holds values that are not finite")
    return matrix


def symmetric_root(covariance: Float64[Tensor, "d d"]) -> Float64[Tensor, "d d"]:
    """Return the positive semi-definite root R of ``covariance`` = R R; raise ``ValueError`` if it has none.

    Costs one symmetric eigenproblem, at least 4/3·d³ operations; the root of a reference is computed once and stored with it.
    """
    eigenvalues, vectors = torch.linalg.eigh(_checked(covariance, "the covariance"))
    if eigenvalues[0] < -NEGATIVE_EIGENVALUE * eigenvalues[-1].abs():
        raise ValueError(f"the covariance is not positive semi-definite: its smallest eigenvalue is {eigenvalues[0].item():.3g}")
    kept = eigenvalues > _eigenvalue_floor(eigenvalues)
    vectors = vectors[:, kept]
    root: Tensor = (vectors * eigenvalues[kept].sqrt()) @ vectors.T
    return root


@dataclass(frozen=True)
class _RootTrace:
    """The sum of the roots of the eigenvalues of a product of covariances, and a bound of its rounding error."""

    value: Float64[Tensor, ""]
    error: Float64[Tensor, ""]


def _sum_of_roots(matrix: Float64[Tensor, "k k"]) -> _RootTrace:
    r"""Return the sum of the roots of the eigenvalues of a positive semi-definite ``matrix``, without those that are round-off.

    An eigenvalue λ is known up to the floor f, so its root up to :math:`f / (2\sqrt\lambda)`, and one that was dropped may have had
    the root :math:`\sqrt f`.
    """
    eigenvalues = torch.linalg.eigvalsh(_checked((matrix + matrix.T) / 2, "a product of covariances"))
    floor = _eigenvalue_floor(eigenvalues).clamp(min=0)
    kept = eigenvalues > floor
    roots = eigenvalues[kept].sqrt()
    return _RootTrace(roots.sum(), (floor / (2 * roots)).sum() + (~kept).sum() * floor.sqrt())


def _assembled(mean_1: Tensor, mean_2: Tensor, trace_1: Tensor, trace_2: Tensor, root_trace: _RootTrace) -> float:
    """Return the distance; 0 if it is below its rounding error."""
    traces = trace_1 + trace_2
    distance = (mean_1 - mean_2).square().sum() + traces - 2 * root_trace.value
    if not distance >= -1e-6 * traces:
        raise ValueError(f"the Fréchet distance came out as {distance.item():.6g}, which round-off cannot explain: damaged statistics")
    error = 2 * root_trace.error + len(mean_1) * torch.finfo(torch.float64).eps * (traces + mean_1.square().sum() + mean_2.square().sum())
    return float(distance.item()) if distance.abs() > error else 0.0


def frechet_distance(fake: Moments, real: Moments, *, real_root: Float64[Tensor, "d d"] | None = None) -> float:
    r"""Return the distance, with the last trace as :math:`\sum\sqrt{\lambda(R_2\Sigma_1R_2)}`, :math:`R_2 = \Sigma_2^{1/2}`.

    Without R₂, and for a positive definite :math:`\Sigma_2 = LL^\top`, it is :math:`\sum\sqrt{\lambda(L^\top\Sigma_1L)}`, which has the
    same eigenvalues: a Cholesky factor costs d³/3 operations, a root more than ten times as many.

    Args:
        fake: moments of one set.
        real: moments of the other.
        real_root: R₂ [d, d] from ``symmetric_root``, if it is known.

    Raises:
        ValueError: for statistics of unequal width, that are not finite, or whose distance is negative beyond round-off.
            A result below its rounding error, such as that of equal sets, is 0.

    """
    if fake.mean.shape != real.mean.shape:
        raise ValueError(f"{fake.mean.numel()} and {real.mean.numel()} features cannot be compared")
    traces = fake.covariance.trace(), real.covariance.trace()
    if real_root is None:
        factor, failed = torch.linalg.cholesky_ex(_checked(real.covariance, "the covariance"))
        if not failed:
            return _assembled(fake.mean, real.mean, *traces, _sum_of_roots(_between_triangles(factor, fake.covariance)))
        real_root = symmetric_root(real.covariance)
    return _assembled(fake.mean, real.mean, *traces, _sum_of_roots(real_root @ fake.covariance @ real_root))


def _between_triangles(factor: Float64[Tensor, "d d"], covariance: Float64[Tensor, "d d"]) -> Float64[Tensor, "d d"]:
    r"""Return :math:`L^\top \Sigma L` of a lower triangular L and a symmetric Σ.

    By blocks, without those that are zero in L and those above the diagonal of the symmetric result: d³/2 multiply-adds, while two
    products take 2 d³.
    """
    size = max(64, len(factor) // 8)
    blocks = [slice(start, start + size) for start in range(0, len(factor), size)]
    result = torch.zeros_like(covariance)
    for index, columns in enumerate(blocks):
        below = slice(columns.start, None)
        product = covariance[below, below] @ factor[below, columns]
        for rows in blocks[index:]:
            result[rows, columns] = factor[rows.start :, rows].T @ product[rows.start - columns.start :]
    return result.tril() + result.tril(-1).T


def frechet_distance_few_fakes(fake: Float[Tensor, "n d"], real: Moments) -> float:
    r"""Return the distance, with the last trace as :math:`\sum\sqrt{\lambda(A_1\Sigma_2A_1^\top)}`: cheaper for n < d fakes.

    Args:
        fake: features [n, d], n ≥ 2.
        real: moments of the reference.

    Raises:
        ValueError: as ``frechet_distance``, and for fewer than two fakes.

    """
    if len(fake) < 2 or fake.shape[1] != real.mean.numel():
        raise ValueError(f"need at least two rows of {real.mean.numel()} features, got {tuple(fake.shape)}")
    mean = fake.double().mean(0)
    rows = (fake.double() - mean) / (len(fake) - 1) ** 0.5
    _checked(real.covariance, "the covariance")
    return _assembled(mean, real.mean, rows.square().sum(), real.covariance.trace(), _sum_of_roots(rows @ real.covariance @ rows.T))


def frechet_distance_of_features(fake: Float[Tensor, "n d"], real: Moments, *, real_root: Float64[Tensor, "d d"] | None = None) -> float:
    """Return the distance of a set of features, computed by the cheaper of the two forms.

    Raises:
        ValueError: as ``frechet_distance`` and ``frechet_distance_few_fakes``.

    """
    if len(fake) < fake.shape[1]:
        return frechet_distance_few_fakes(fake, real)
    return frechet_distance(moments_of(fake), real, real_root=real_root)
