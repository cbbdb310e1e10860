r"""Spectra of matrices that are known by their products with vectors, and the products of a loss's two curvature matrices.

A vector of parameter space is one tensor [p], the parameters flattened and joined in their order. Products are differentiated from a
graph that was built once; nothing here touches ``.grad``, and nothing draws random numbers: callers give the start vectors.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

Vector = Float[Tensor, " p"]
Product = Callable[[Tensor], Tensor]
"""``product(vector [p]) -> matrix @ vector [p]`` of a symmetric matrix."""


def hessian_product(loss: Float[Tensor, ""], parameters: Sequence[Tensor]) -> Product:
    r"""Return the product of the Hessian of ``loss`` by the parameters, :math:`H v = \nabla (\nabla L^\top v)` (Pearlmutter, 1994).

    Args:
        loss: the value, with its graph, which must be differentiable twice; the product keeps it.
        parameters: the tensors that it is differentiated by; one that the loss does not depend on has rows of zeros.

    """
    gradient = _joined(_gradients(loss, parameters, create_graph=True))

    def product(vector: Tensor) -> Tensor:
        if not gradient.requires_grad:  # the loss is linear
            return torch.zeros_like(vector)
        return _joined(_gradients(gradient @ vector, parameters, retain_graph=True)).detach()

    return product


def gauss_newton_product(loss: Float[Tensor, ""], outputs: Sequence[Tensor], parameters: Sequence[Tensor]) -> Product:
    r"""Return the product of the generalised Gauss–Newton matrix, :math:`G v = J^\top H_o J v` (Schraudolph, 2002).

    J is the Jacobian of the network's outputs by the parameters, and H_o the Hessian of the loss by the outputs: of a loss that is convex
    in them G is positive semidefinite, and of one that is linear in pieces (hinge) it is zero.

    Args:
        loss: the value, with its graph; the product keeps it.
        outputs: every output of the network that the loss was computed from, in the graph of the loss; the loss depends on the
            parameters through them alone.
        parameters: the tensors that the outputs are differentiated by.

    """
    # J v by two transposed products: J^T u is linear in u, and its derivative by u along v is J v
    dummies = [torch.zeros_like(output, requires_grad=True) for output in outputs]
    transposed = _joined(_gradients(outputs, parameters, grad_outputs=dummies, create_graph=True))
    slopes = _gradients(loss, outputs, create_graph=True)

    def product(vector: Tensor) -> Tensor:
        if not any(slope.requires_grad for slope in slopes):  # the loss is linear in the outputs
            return torch.zeros_like(vector)
        forward = _gradients(transposed @ vector, dummies, retain_graph=True)
        total = torch.stack([(slope * along).sum() for slope, along in zip(slopes, forward, strict=True)]).sum()
        middle = _gradients(total, outputs, retain_graph=True)
        return _joined(_gradients(outputs, parameters, grad_outputs=middle, retain_graph=True)).detach()

    return product


def mean_product(products: Sequence[Product]) -> Product:
    """Return the product of the mean of several matrices."""
    return lambda vector: torch.stack([product(vector) for product in products]).mean(0)


def flat_gradient(loss: Float[Tensor, ""], parameters: Sequence[Tensor]) -> Vector:
    """Return the gradient of ``loss`` as a vector of parameter space; the graph of the loss stays."""
    return _joined(_gradients(loss, parameters, retain_graph=True)).detach()


def _gradients(values: Tensor | Sequence[Tensor], by: Sequence[Tensor], **options: Any) -> tuple[Tensor, ...]:
    """Return the gradients, zeros for what the values do not depend on."""
    return torch.autograd.grad(values, list(by), materialize_grads=True, **options)


def _joined(gradients: Iterable[Tensor]) -> Tensor:
    return torch.cat([gradient.reshape(-1) for gradient in gradients])


@dataclass(frozen=True)
class Krylov:
    r"""An orthonormal basis of a Krylov space, in which the matrix is tridiagonal: :math:`Q A Q^\top = T`."""

    basis: Float[Tensor, "k p"]
    diagonal: Float64[np.ndarray, " k"]
    off_diagonal: Float64[np.ndarray, " k"]
    """Off-diagonal entries of T; the last one is the norm of the next unnormalised vector: 0 if the space is invariant."""


def tridiagonalise(product: Product, start: Vector, steps: int, *, tolerance: float = 1e-8) -> Krylov:
    """Return the basis that Lanczos's iteration builds from ``start``, orthogonalised against all its vectors, twice, in every step.

    It needs a matrix product a step, and memory for ``steps`` vectors. It ends early where the space is invariant: where the next vector
    is below ``tolerance``, or the precision of the numbers, times the largest entry found. Reads one number a step on the host.

    Args:
        product: product of the symmetric matrix with a vector.
        start: any vector but 0.
        steps: most vectors of the basis.
        tolerance: relative size below which a vector counts as 0.

    Raises:
        ArithmeticError: a product is not finite.

    """
    basis = torch.empty(min(steps, len(start)), len(start), dtype=start.dtype, device=start.device)
    vector = start / start.norm()
    diagonal: list[float] = []
    off_diagonal: list[float] = []
    for step in range(len(basis)):
        basis[step] = vector
        image = product(vector)
        diagonal.append(float(vector @ image))
        if not math.isfinite(diagonal[-1]):
            raise ArithmeticError("a product of the matrix is not finite")
        known = basis[: step + 1]
        for _ in range(2):  # the second time removes what rounding left in the first
            image = image - known.T @ (known @ image)
        norm = float(image.norm())
        off_diagonal.append(norm)
        scale = max(map(abs, (*diagonal, *off_diagonal)))
        if norm <= max(tolerance, torch.finfo(start.dtype).eps) * scale:
            break
        vector = image / norm
    return Krylov(basis[: len(diagonal)], np.array(diagonal), np.array(off_diagonal))


@dataclass(frozen=True)
class Ritz:
    r"""Ritz values of a matrix, in rising order, with the weights of Gauss's quadrature of its spectrum.

    The weights ω, squared first components of T's eigenvectors, sum to 1, and :math:`\sum_j \omega_j f(\theta_j) \approx v^\top f(A) v`
    with the start vector v of norm 1.
    """

    values: Float64[np.ndarray, " k"]
    weights: Float64[np.ndarray, " k"]
    residuals: Float64[np.ndarray, " k"]
    """‖A y − θ y‖ of the Ritz vectors y: an eigenvalue of A lies within this distance of each value."""


def lanczos(product: Product, start: Vector, steps: int, *, tolerance: float = 1e-8) -> Ritz:
    """Return the Ritz values that ``steps`` products give; the extreme ones converge first. See ``tridiagonalise``."""
    krylov = tridiagonalise(product, start, steps, tolerance=tolerance)
    between = krylov.off_diagonal[:-1]
    values, vectors = np.linalg.eigh(np.diag(krylov.diagonal) + np.diag(between, 1) + np.diag(between, -1))
    return Ritz(values, vectors[0] ** 2, np.abs(krylov.off_diagonal[-1] * vectors[-1]))


def spectral_density(spectra: Sequence[Ritz], grid: Float64[np.ndarray, " g"], *, width: float) -> Float64[np.ndarray, " g"]:
    r"""Return the density of eigenvalues at each point of ``grid``, by stochastic Lanczos quadrature.

    .. math:: \phi(t) = \frac1n \sum_{i=1}^n \sum_j \omega_j^{(i)} \frac1{\sqrt{2\pi}\,s} e^{-(t - \theta_j^{(i)})^2 / 2 s^2}

    over n random start vectors (Lin, Saad, Yang, arXiv 1308.5467; Ghorbani, Krishnan, Xiao, arXiv 1901.10159). It integrates to 1.

    Args:
        spectra: Ritz values from independent random start vectors.
        grid: eigenvalues t.
        width: standard deviation s of the Gaussian that stands for each Ritz value, in units of the eigenvalues.

    """
    total = np.zeros_like(grid)
    for ritz in spectra:
        distance = (grid[:, None] - ritz.values) / width
        total += np.exp(-(distance**2) / 2) @ ritz.weights
    density: Float64[np.ndarray, " g"] = total / (len(spectra) * width * math.sqrt(2 * math.pi))
    return density


def hutchinson_trace(product: Product, signs: Float[Tensor, "n p"]) -> tuple[float, float]:
    r"""Return the mean over n of :math:`z^\top A z`, an unbiased estimate of the trace, and its standard error (NaN for n = 1).

    Args:
        product: product of the symmetric matrix with a vector.
        signs: independent rows of −1 and 1 (Hutchinson, 1990), which have the smallest variance.

    """
    forms = torch.stack([sign @ product(sign) for sign in signs]).double().cpu().numpy()
    error = float(forms.std(ddof=1)) / math.sqrt(len(forms)) if len(forms) > 1 else math.nan
    return float(forms.mean()), error
