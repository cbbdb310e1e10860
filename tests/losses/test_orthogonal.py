"""Orthogonal regularisation: the sum over pairs of rows, and its gradient by autograd."""

import pytest
import torch

from gconv_gan.losses.orthogonal import orthogonal_gradient
from tests.reference.orthogonal import orthogonal_penalty


@pytest.mark.parametrize("shape", [(4, 7), (7, 4), (3, 4, 6)])
def test_the_gradient_is_autograds(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    weight = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(orthogonal_penalty(weight), weight)
    torch.testing.assert_close(orthogonal_gradient(weight.detach()), expected)


def test_the_penalty_is_the_sum_over_pairs_of_rows() -> None:
    torch.manual_seed(0)
    weight = torch.randn(2, 5, 6, dtype=torch.float64)
    pairs = [(w[i] @ w[j]).square() for w in weight for i in range(5) for j in range(5) if i != j]
    torch.testing.assert_close(orthogonal_penalty(weight), torch.stack(pairs).sum())


def test_orthogonal_rows_of_any_length_cost_nothing() -> None:
    rows = torch.linalg.qr(torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0].T
    scaled = rows * torch.tensor([1.0, 2.0, 3.0, 0.1], dtype=torch.float64)[:, None]
    assert orthogonal_penalty(scaled) < 1e-20
    assert orthogonal_gradient(scaled).abs().max() < 1e-12
