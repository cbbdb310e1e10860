"""Newton's inverse square root: the eigenvalue recursion, convergence, stability, equality with the uncoupled form."""

import pytest
import torch
from torch import Tensor

from gconv_gan.layers.norms.newton import inverse_square_root
from tests.reference.whitening import remaining_variance, uncoupled_newton


def positive(size: int, condition: float, count: int = 1) -> Tensor:
    torch.manual_seed(0)
    basis, _ = torch.linalg.qr(torch.randn(count, size, size, dtype=torch.float64))
    spectrum = torch.logspace(0, -torch.tensor(condition).log10().item(), size, dtype=torch.float64)
    return (basis * spectrum) @ basis.mT


def scale_of(sigma: Tensor, scale: str) -> Tensor:
    return sigma.trace() if scale == "trace" else torch.linalg.matrix_norm(sigma)


@pytest.mark.parametrize("scale", ["trace", "frobenius"])
@pytest.mark.parametrize("iterations", [1, 2, 5, 8])
def test_eigenvalues_follow_the_recursion(scale: str, iterations: int) -> None:
    sigma = positive(12, 1e3)[0]
    root = inverse_square_root(sigma[None], iterations=iterations, scale=scale)[0]
    expected = remaining_variance(torch.linalg.eigvalsh(sigma) / scale_of(sigma, scale), iterations)
    torch.testing.assert_close(torch.linalg.eigvalsh(root @ sigma @ root), expected.sort().values, rtol=0, atol=1e-10)


@pytest.mark.parametrize("scale", ["trace", "frobenius"])
def test_it_converges_and_stays_there(scale: str) -> None:
    sigma = positive(16, 1e2, count=3)
    identity = torch.eye(16).expand(3, 16, 16)
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-4)):
        matrices = sigma.to(dtype)
        for iterations in (30, 40):
            root = inverse_square_root(matrices, iterations=iterations, scale=scale)
            assert (root @ matrices @ root - identity).abs().max() <= tolerance


def test_the_uncoupled_form_does_not_converge() -> None:
    sigma = positive(16, 1e2)[0]
    p = uncoupled_newton(sigma, 15, sigma.trace())
    assert (p @ sigma @ p - torch.eye(16)).abs().max() > 0.1


@pytest.mark.parametrize("size", [16, 64])
@pytest.mark.parametrize("condition", [1e2, 1e6])
def test_float32_stays_near_float64(size: int, condition: float) -> None:
    sigma = positive(size, condition)
    for iterations in (5, 10):
        exact = inverse_square_root(sigma, iterations=iterations, scale="trace")
        rounded = inverse_square_root(sigma.float(), iterations=iterations, scale="trace").double()
        assert (rounded - exact).norm() <= 1e-5 * exact.norm()


@pytest.mark.parametrize("scale", ["trace", "frobenius"])
def test_equals_the_uncoupled_recursion_with_its_gradient(scale: str) -> None:
    sigma = positive(8, 50.0)[0].requires_grad_()
    ours = inverse_square_root(sigma[None], iterations=5, scale=scale)[0]
    theirs = uncoupled_newton(sigma, 5, scale_of(sigma, scale))
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=0)
    symmetric = torch.randn_like(sigma)
    direction = symmetric + symmetric.T
    gradients = [torch.autograd.grad(out, sigma, direction)[0] for out in (ours, theirs)]
    torch.testing.assert_close(gradients[0] + gradients[0].T, gradients[1] + gradients[1].T, rtol=1e-10, atol=1e-10)
