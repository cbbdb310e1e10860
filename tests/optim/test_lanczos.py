"""Products against dense Hessians, Ritz values against SciPy's eigenvalues, density and trace against known spectra."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor, nn
from torch.nn import functional as F

from gconv_gan.optim.lanczos import (
    Krylov,
    flat_gradient,
    gauss_newton_product,
    hessian_product,
    hutchinson_trace,
    lanczos,
    mean_product,
    spectral_density,
    tridiagonalise,
)


def network() -> nn.Module:
    """A network of about 200 parameters."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 9), nn.Softplus(), nn.Linear(9, 4)).double()


def batch(count: int = 20) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(count, 6, dtype=torch.float64), torch.randint(0, 4, (count,))


def functional(net: nn.Module) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """Return the network's logits on the batch as a function of its flat parameters, and those."""
    names = [name for name, _ in net.named_parameters()]
    sizes = [parameter.numel() for parameter in net.parameters()]
    shapes = [parameter.shape for parameter in net.parameters()]

    def logits(flat: Tensor) -> Tensor:
        parts = [part.view(shape) for part, shape in zip(flat.split(sizes), shapes, strict=True)]
        return torch.func.functional_call(net, dict(zip(names, parts, strict=True)), batch()[0])

    return logits, torch.cat([parameter.detach().flatten() for parameter in net.parameters()])


def close(ours: Tensor, theirs: Tensor, tolerance: float) -> None:
    assert float((ours - theirs).norm()) <= tolerance * float(theirs.norm())


def test_the_hessians_product_is_symmetric_and_that_of_the_dense_hessian() -> None:
    net = network()
    logits, flat = functional(net)
    x, y = batch()
    dense = torch.autograd.functional.hessian(lambda p: F.cross_entropy(logits(p), y), flat)
    product = hessian_product(F.cross_entropy(net(x), y), list(net.parameters()))
    u, v = torch.randn(2, len(flat), dtype=torch.float64)
    close(product(v), dense @ v, 1e-9)
    assert abs(float(u @ product(v) - v @ product(u))) <= 1e-10 * float(u.norm() * product(v).norm())


def test_the_gauss_newton_product_is_that_of_the_two_jacobians() -> None:
    net = network()
    logits, flat = functional(net)
    x, y = batch()
    jacobian = torch.autograd.functional.jacobian(lambda p: logits(p).flatten(), flat)
    middle = torch.autograd.functional.hessian(lambda o: F.cross_entropy(o.view(-1, 4), y), logits(flat).flatten())
    dense = jacobian.T @ middle @ jacobian
    out = net(x)
    product = gauss_newton_product(F.cross_entropy(out, y), [out], list(net.parameters()))
    v = torch.randn(len(flat), dtype=torch.float64)
    close(product(v), dense @ v, 1e-9)
    assert float(v @ product(v)) > 0


def test_the_outputs_of_two_passes_are_one_network() -> None:
    net = network()
    x, y = batch()
    parameters = list(net.parameters())
    whole = net(x)
    first, second = net(x[:8]), net(x[8:])
    loss = F.cross_entropy(torch.cat([first, second]), y)
    v = torch.randn(sum(p.numel() for p in parameters), dtype=torch.float64)
    close(
        gauss_newton_product(loss, [first, second], parameters)(v),
        gauss_newton_product(F.cross_entropy(whole, y), [whole], parameters)(v),
        1e-12,
    )


def test_a_loss_without_curvature_in_the_outputs_has_no_gauss_newton_matrix_but_a_hessian() -> None:
    net = network()
    out = net(batch()[0])
    loss = F.relu(1 - out).mean()
    v = torch.randn(len(functional(net)[1]), dtype=torch.float64)
    assert not gauss_newton_product(loss, [out], list(net.parameters()))(v).any()
    assert hessian_product(loss, list(net.parameters()))(v).any()


def test_parameters_that_the_loss_does_not_read_have_rows_of_zeros() -> None:
    a, b = (torch.randn(3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    product = hessian_product((a**4).sum(), [b, a])
    result = product(torch.ones(6, dtype=torch.float64))
    assert not result[:3].any()
    torch.testing.assert_close(result[3:], 12 * a.detach() ** 2)
    assert not hessian_product(a.sum(), [a])(torch.ones(3, dtype=torch.float64)).any()


def gapped(dtype: torch.dtype) -> Tensor:
    """A random symmetric matrix of side 200 with outliers at both ends."""
    generator = torch.Generator().manual_seed(2)
    basis, _ = torch.linalg.qr(torch.randn(200, 200, dtype=torch.float64, generator=generator))
    values = torch.cat([torch.linspace(-1, 1, 195, dtype=torch.float64), torch.tensor([-4.0, -2.5, 5.0, 8.0, 12.0])])
    return ((basis * values) @ basis.T).to(dtype)


@pytest.mark.parametrize(("dtype", "accuracy", "orthogonality"), [(torch.float64, 1e-8, 1e-10), (torch.float32, 1e-4, 1e-5)])
def test_the_extreme_ritz_values_are_the_eigenvalues(dtype: torch.dtype, accuracy: float, orthogonality: float) -> None:
    matrix = gapped(dtype)
    start = torch.randn(200, dtype=dtype, generator=torch.Generator().manual_seed(3))
    krylov = tridiagonalise(lambda v: matrix @ v, start, 50)
    assert krylov.basis.shape == (50, 200)
    assert float((krylov.basis @ krylov.basis.T - torch.eye(50, dtype=dtype)).abs().max()) <= orthogonality
    ritz = lanczos(lambda v: matrix @ v, start, 50)
    operator = LinearOperator((200, 200), matvec=lambda v: (matrix.double() @ torch.as_tensor(v).flatten()).numpy(), dtype=np.float64)
    for which, ours in (("LA", ritz.values[-2:]), ("SA", ritz.values[:2])):
        theirs = np.sort(eigsh(operator, k=2, which=which, return_eigenvectors=False))
        np.testing.assert_allclose(ours, theirs, rtol=accuracy)
    assert ritz.weights.sum() == pytest.approx(1, abs=1e-6)
    assert ritz.values.min() >= -4.0 - 1e-4
    assert ritz.values.max() <= 12.0 + 1e-4


def test_every_ritz_value_is_within_its_residual_of_an_eigenvalue() -> None:
    matrix = gapped(torch.float64)
    ritz = lanczos(lambda v: matrix @ v, torch.ones(200, dtype=torch.float64), 12)
    exact = np.linalg.eigvalsh(matrix.numpy())
    nearest = np.abs(ritz.values[:, None] - exact).min(1)
    assert (nearest <= ritz.residuals + 1e-10).all()
    assert ritz.residuals.max() > 1e-3


def test_an_invariant_space_ends_the_iteration() -> None:
    values = torch.tensor([3.0] * 40 + [7.0] * 10, dtype=torch.float64)
    start = torch.randn(50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ritz = lanczos(lambda v: values * v, start, 30)
    np.testing.assert_allclose(ritz.values, [3, 7], rtol=1e-12)
    share = float((start[40:] ** 2).sum() / (start**2).sum())
    np.testing.assert_allclose(ritz.weights, [1 - share, share], rtol=1e-10)
    whole: Krylov = tridiagonalise(lambda v: torch.zeros_like(v), start, 30)
    assert len(whole.basis) == 1


def test_products_that_are_not_finite_are_an_error() -> None:
    with pytest.raises(ArithmeticError):
        lanczos(lambda v: v * float("nan"), torch.ones(4), 3)


def test_the_density_has_the_moments_of_the_spectrum() -> None:
    matrix = gapped(torch.float64)
    generator = torch.Generator().manual_seed(5)
    starts = torch.randn(20, 200, dtype=torch.float64, generator=generator)
    spectra = [lanczos(lambda v: matrix @ v, start, 40) for start in starts]
    grid = np.linspace(-6, 14, 4001)
    density = spectral_density(spectra, grid, width=0.1)
    step = grid[1] - grid[0]
    exact = np.linalg.eigvalsh(matrix.numpy())
    assert density.sum() * step == pytest.approx(1, abs=1e-6)
    assert (density * grid).sum() * step == pytest.approx(exact.mean(), abs=0.05)
    assert density[np.abs(grid - 12) < 0.5].sum() * step == pytest.approx(1 / 200, abs=2e-3)
    assert density[np.abs(grid) < 0.9].sum() * step == pytest.approx((np.abs(exact) < 0.9).mean(), abs=0.05)
    bare = [float((start / start.norm()) @ matrix @ (start / start.norm())) for start in starts]
    assert [float(ritz.weights @ ritz.values) for ritz in spectra] == pytest.approx(bare, rel=1e-9)


def test_the_trace_lies_within_its_error() -> None:
    matrix = gapped(torch.float64)
    signs = torch.randint(0, 2, (400, 200), generator=torch.Generator().manual_seed(1)).double() * 2 - 1
    trace, error = hutchinson_trace(lambda v: matrix @ v, signs)
    off = matrix - matrix.diag().diag()
    assert error == pytest.approx(float(2 * (off**2).sum() / 400) ** 0.5, rel=0.15)  # the variance of Hutchinson's estimate
    assert abs(trace - float(matrix.trace())) < 4 * error
    diagonal = torch.arange(5.0)
    assert hutchinson_trace(lambda v: diagonal * v, torch.ones(2, 5)) == (10.0, 0.0)


def test_an_estimate_leaves_gradients_and_random_numbers_alone() -> None:
    net = network()
    x, y = batch()
    parameters = list(net.parameters())
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, 2.5)
    values = [parameter.detach().clone() for parameter in parameters]
    state = torch.get_rng_state()
    loss = F.cross_entropy(net(x), y)
    product = mean_product([hessian_product(loss, parameters), hessian_product(loss, parameters)])
    lanczos(product, flat_gradient(loss, parameters), 10)
    assert torch.equal(torch.get_rng_state(), state)
    for parameter, value in zip(parameters, values, strict=True):
        assert torch.equal(parameter.detach(), value)
        assert parameter.grad is not None
        assert (parameter.grad == 2.5).all()
