r"""Convolutions whose gradient is differentiated again, as a penalty on the gradient of the discriminator does.

With ``*`` the convolution, bilinear in image x and kernel w, and G the gradient of its result, torch differentiates the gradient of x,
:math:`w \star G`, with respect to w by a convolution whose kernel is G, as large as the image. It is the gradient of a kernel itself,

.. math:: \partial_w \langle w \star G, H \rangle = \nabla_w \langle w * H, G \rangle

of a convolution of H, the gradient that arrives, and libraries have an operation for those. The same idea: ``conv2d_gradfix`` of
StyleGAN2-ADA's code (arXiv 2006.06676). Values are equal up to rounding; derivatives of every order exist.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class _Geometry(NamedTuple):
    """The arguments of ATen's convolution after image, kernel and bias, in order."""

    stride: Sequence[int]
    padding: Sequence[int]
    dilation: Sequence[int]
    transposed: bool
    output_padding: Sequence[int]
    groups: int


class DoubleBackward(TorchFunctionMode):
    """Within this context, 2-D convolutions of any module are computed in the form above; under autocast they are not."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        found = None
        if func is torch.conv2d:
            found = _conv2d(*args, **kwargs)
        elif func is torch.conv_transpose2d:
            found = _conv_transpose2d(*args, **kwargs)
        return func(*args, **kwargs) if found is None else found


def _conv2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Tensor | None:
    return _convolved(input, weight, bias, stride, padding, dilation, groups)


def _conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor | None:
    return _convolved(input, weight, bias, stride, padding, dilation, groups, output_padding)


def _convolved(
    input: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, dilation: Any, groups: int, output_padding: Any = None
) -> Tensor | None:
    """Return the result; None under autocast, and for what ATen's operation does not take: no batch, a padding given by name."""
    if input.ndim != 4 or isinstance(padding, str) or torch.is_autocast_enabled(input.device.type):
        return None
    transposed = output_padding is not None
    geometry = _Geometry(_pair(stride), _pair(padding), _pair(dilation), transposed, _pair(output_padding or 0), groups)
    result: Tensor = _Convolution.apply(input, weight, bias, geometry)
    return result


def _pair(value: Any) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value)


class _Convolution(torch.autograd.Function):
    """The convolution of x and w, plus a bias."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, bias: Tensor | None, geometry: _Geometry) -> Tensor:
        ctx.save_for_backward(x, w)
        ctx.geometry = geometry
        result: Tensor = torch.ops.aten.convolution(x, w, bias, *geometry)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        nodes = [node for node, _ in ctx.next_functions]  # of tensors alone: there is none of a missing bias
        wanted = [needed and _reached(node) for needed, node in zip(ctx.needs_input_grad, nodes, strict=False)]
        wanted += [False] * (3 - len(wanted))
        return *_Gradients.apply(gradient, *ctx.saved_tensors, ctx.geometry, wanted), None


class _Gradients(torch.autograd.Function):
    """The gradients of a convolution with respect to x, w and bias, those that are ``wanted``."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, x: Tensor, w: Tensor, geometry: _Geometry, wanted: list[bool]) -> Any:
        ctx.save_for_backward(gradient, x, w)
        ctx.set_materialize_grads(False)
        ctx.geometry = geometry
        return torch.ops.aten.convolution_backward(gradient, x, w, [gradient.shape[1]], *geometry, wanted)

    @staticmethod
    def backward(ctx: Any, of_x: Tensor | None, of_w: Tensor | None, of_bias: Tensor | None) -> Any:
        gradient, x, w = ctx.saved_tensors
        geometry = ctx.geometry
        needed = ctx.needs_input_grad
        again = for_x = for_w = None
        if needed[0]:
            terms = [] if of_x is None else [_Convolution.apply(of_x, w, None, geometry)]
            terms += [] if of_w is None else [_Convolution.apply(x, of_w, None, geometry)]
            terms += [] if of_bias is None else [of_bias[:, None, None].expand_as(gradient)]
            again = sum(terms[1:], terms[0]) if terms else None
        if needed[1] and of_w is not None:
            for_x = _Gradients.apply(gradient, x, of_w, geometry, [True, False, False])[0]
        if needed[2] and of_x is not None:
            for_w = _Gradients.apply(gradient, of_x, w, geometry, [False, True, False])[1]
        return again, for_x, for_w, None, None


def _reached(node: Any) -> bool:
    """Return whether the current backward pass wants the gradient that goes to ``node``: a penalty wants that of the images alone."""
    try:
        return bool(torch._C._will_engine_execute_node(node))
    except RuntimeError:  # of a leaf that autograd.grad was asked for
        return True
