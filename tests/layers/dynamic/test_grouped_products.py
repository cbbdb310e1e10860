"""Moments and products of groups of channels: both forms equal the definition, first and second derivatives."""

import pytest
import torch
from torch import Tensor

from gconv_gan.layers.dynamic.grouped_products import by_convolution, by_products, grouped_matmul, grouped_product, second_moment


def maps(*shape: int) -> Tensor:
    torch.manual_seed(0)
    return torch.randn(*shape, dtype=torch.float64)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("groups", [1, 2, 6])
def test_moments_are_sums_of_outer_products(groups: int, layout: torch.memory_format) -> None:
    x = maps(3, 6, 4, 5).contiguous(memory_format=layout)
    rows = x.transpose(0, 1).reshape(groups, 6 // groups, -1)
    expected = torch.einsum("gim,gjm->gij", rows, rows)
    for form in (by_convolution, by_products, second_moment):
        torch.testing.assert_close(form(x, groups), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("bias", [None, maps(8)])
def test_products_are_one_matrix_a_group(layout: torch.memory_format, bias: Tensor | None) -> None:
    x, matrices = maps(3, 6, 4, 5).contiguous(memory_format=layout), maps(2, 4, 3)
    expected = torch.cat([torch.einsum("ed,bdhw->behw", m, part) for m, part in zip(matrices, x.chunk(2, 1), strict=True)], 1)
    expected = expected if bias is None else expected + bias[:, None, None]
    for form in (grouped_product, grouped_matmul):
        torch.testing.assert_close(form(matrices, x, bias), expected, rtol=1e-12, atol=1e-12)


def test_the_written_gradient_is_the_derivative_twice() -> None:
    x = maps(2, 4, 2, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: second_moment(x, 2), (x,))
    assert torch.autograd.gradgradcheck(lambda x: second_moment(x, 2), (x,))
