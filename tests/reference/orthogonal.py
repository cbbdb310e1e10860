"""Orthogonal regularisation as a loss, the reference of its gradient."""

import torch
from torch import Tensor


def orthogonal_penalty(matrices: Tensor) -> Tensor:
    """|W W' o (1 - I)|^2 of W [o, m], summed over the matrices."""
    products = matrices @ matrices.mT
    return (products - torch.diag_embed(products.diagonal(dim1=-2, dim2=-1))).square().sum()
