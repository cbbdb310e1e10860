"""Top-k training: the generator learns from the images of a batch that the discriminator believes most.

Sinha, Zhao, Goyal, Raffel, Odena, "Top-k Training of GANs", arXiv 2002.06224 (2020), section 3.
"""

import math

from jaxtyping import Float
from torch import Tensor


def top_k_count(batch_size: int, images_seen: int, *, final_fraction: float, decay: float, decay_images: int) -> int:
    r"""Return :math:`k = \max(\lceil \nu B \rceil, \lfloor \gamma^{\lfloor n / e \rfloor} B \rfloor)` of a batch of B.

    n images have been seen, :math:`\nu` is the final fraction, and k shrinks by the factor :math:`\gamma` every e images.
    """
    return max(math.ceil(final_fraction * batch_size), math.floor(decay ** (images_seen // decay_images) * batch_size))


def top_k_weights(logits: Float[Tensor, " b"], k: Float[Tensor, ""]) -> Float[Tensor, " b"]:
    """Return B/k for the k largest of B logits and 0 for the others: factors that turn a mean into the mean of the k best.

    ``k`` is a scalar on the device, so that its value is no part of the operations.
    """
    ranks = logits.argsort(descending=True, stable=True).argsort()
    return (ranks < k).to(logits) * (len(logits) / k)
