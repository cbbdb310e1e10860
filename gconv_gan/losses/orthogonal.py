"""Orthogonal regularisation of weights, without a constraint on their scale.

Brock, Donahue, Simonyan, "Large Scale GAN Training for High Fidelity Natural Image Synthesis", arXiv 1809.11096 (2018), equation 3.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def orthogonal_gradient(matrices: Float[Tensor, "*k o m"]) -> Float[Tensor, "*k o m"]:
    r"""Return the gradient of :math:`\lVert W W^\top \odot (1 - I) \rVert_F^2`, summed over the matrices; a row is a filter.

    .. math:: 4\, (W W^\top \odot (1 - I))\, W
    """
    products = matrices @ matrices.mT
    off_diagonal = products - torch.diag_embed(products.diagonal(dim1=-2, dim2=-1))
    return 4 * off_diagonal @ matrices
