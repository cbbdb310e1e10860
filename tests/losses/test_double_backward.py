"""Convolutions for penalties: the derivatives of torch's own, of every order."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gconv_gan.losses.double_backward import DoubleBackward

GEOMETRIES = {
    "plain": {"padding": 1},
    "strided": {"stride": 2, "padding": (1, 0)},
    "dilated, grouped": {"dilation": 2, "padding": 2, "groups": 2},
    "transposed": {"stride": 2, "padding": 1, "output_padding": 1},
    "transposed, grouped": {"stride": (2, 1), "groups": 2},
}


def inputs(geometry: str) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    groups = GEOMETRIES[geometry].get("groups", 1)
    shape = (4, 6 // groups, 3, 3) if geometry.startswith("transposed") else (6, 4 // groups, 3, 3)
    tensors = (torch.randn(size, generator=generator, dtype=torch.float64) for size in ((2, 4, 6, 6), shape, (6,)))
    x, w, b = (tensor.requires_grad_() for tensor in tensors)
    return x, w, b


def convolved(geometry: str, x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    convolution = F.conv_transpose2d if geometry.startswith("transposed") else F.conv2d
    return convolution(x, w, b, **GEOMETRIES[geometry])


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_first_and_second_derivatives_are_those_of_finite_differences(geometry: str) -> None:
    def function(*tensors: Tensor) -> Tensor:
        with DoubleBackward():
            return convolved(geometry, *tensors).tanh()

    assert torch.autograd.gradcheck(function, inputs(geometry), fast_mode=True)
    assert torch.autograd.gradgradcheck(function, inputs(geometry), fast_mode=True)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_the_derivatives_of_a_penalty_are_those_of_torchs_convolution(geometry: str) -> None:
    def penalty() -> list[Tensor]:
        x, w, b = inputs(geometry)
        y = convolved(geometry, x, w, b)
        (gradient,) = torch.autograd.grad((y * y.sigmoid()).sum(), x, create_graph=True)
        return [y, gradient, *torch.autograd.grad(gradient.square().sum() + y.sum(), (x, w, b))]

    expected = penalty()
    with DoubleBackward():
        found = penalty()
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_only_the_gradients_that_are_wanted_are_computed() -> None:
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3, bias=False))
    x = torch.randn(2, 3, 8, 8, requires_grad=True)

    def masks(run: object) -> list[list[bool]]:
        with torch.profiler.profile(record_shapes=True, with_stack=False) as profile:
            run()  # type: ignore[operator]
        return [e.concrete_inputs[-1] for e in profile.events() if e.name == "aten::convolution_backward"]

    with DoubleBackward():
        y = layers(x).sum()
    assert masks(lambda: torch.autograd.grad(y, x, create_graph=True)) == [[True, False, False]] * 2
    assert masks(lambda: y.backward(inputs=list(layers.parameters()))) == [[True, True, False], [False, True, True]]


def test_what_it_does_not_know_is_left_to_torch() -> None:
    x, w = torch.randn(3, 6, 6), torch.randn(2, 3, 3, 3)
    with DoubleBackward():
        assert F.conv2d(x, w).equal(F.conv2d(x[None], w)[0])
        assert F.conv2d(x[None], w, padding="same").shape == (1, 2, 6, 6)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert F.conv2d(x[None], w).dtype == torch.bfloat16
