"""Second moments of maps and products of maps with small matrices, per group of channels: the two main costs of whitening.

Both have a form for CPUs, where 1x1 convolutions read either memory layout without copies, and one of batched products for GPUs,
where few long products are slow. On GPUs their factors are not rounded to TF32, an error that whitening would amplify.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.nn.grad import conv2d_weight

from gconv_gan.runtime.precision import float32_arithmetic


def second_moment(x: Float[Tensor, "b c h w"], groups: int) -> Float[Tensor, "g d d"]:
    r"""Return :math:`S_g = \sum_{b, h, w} x_g x_g^\top` over batch and positions for each group of d = C/groups channels.

    The gradient is :math:`(\bar S + \bar S^\top) x`, one product where differentiating the two factors apart takes two; it may be
    differentiated again. The sum has the precision of x.
    """
    moment: Tensor = _SecondMoment.apply(x, groups)
    return moment


class _SecondMoment(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, groups: int) -> Tensor:
        ctx.save_for_backward(x)
        return by_convolution(x, groups) if x.device.type == "cpu" else by_products(x, groups)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        with float32_arithmetic(x.device):
            return grouped_product(gradient + gradient.mT, x), None


def by_convolution(x: Float[Tensor, "b c h w"], groups: int) -> Float[Tensor, "g d d"]:
    """Return the moments as the weight gradient of a grouped 1x1 convolution."""
    size = x.shape[1] // groups
    gradient: Tensor = conv2d_weight(x, (x.shape[1], size, 1, 1), x, groups=groups)  # type: ignore[no-untyped-call]
    return gradient.view(groups, size, size)


def by_products(x: Float[Tensor, "b c h w"], groups: int) -> Float[Tensor, "g d d"]:
    """Return the moments as a batch of products, one per image and group, which uses a GPU better than few long products."""
    maps = x.reshape(x.shape[0], groups, x.shape[1] // groups, -1)
    return (maps @ maps.mT).sum(0)


def grouped_product(
    matrices: Float[Tensor, "g e d"], x: Float[Tensor, "b c h w"], bias: Float[Tensor, " c2"] | None = None
) -> Float[Tensor, "b c2 h w"]:
    """Return each group's matrix times the group's channels at every position, plus ``bias`` [C2 = G e]."""
    if x.device.type == "cpu":
        return F.conv2d(x, matrices.flatten(0, 1)[:, :, None, None], bias, groups=matrices.shape[0])
    return grouped_matmul(matrices, x, bias)


def grouped_matmul(matrices: Tensor, x: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return :func:`grouped_product` as a batch of products."""
    maps = x.reshape(x.shape[0], matrices.shape[0], matrices.shape[2], -1)
    product = (matrices @ maps).reshape(x.shape[0], -1, *x.shape[2:])
    return product if bias is None else product + bias[:, None, None]
