"""Top-k training: the generator's loss is the mean over the k images of a batch with the largest logits.

Sinha, Zhao, Goyal, Raffel, Odena, "Top-k Training of GANs", arXiv 2002.06224 (2020), section 3.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


def top_k_count(batch_size: int, images_seen: int, *, final_fraction: float, decay: float, decay_images: int) -> int:
    r"""Return :math:`k = \max(\lceil \nu B \rceil, \lfloor \gamma^{\lfloor n / e \rfloor} B \rfloor)` of a batch of B.

    n images have been seen, :math:`\nu` is the final fraction, and k shrinks by the factor :math:`\gamma` every e images.
    """
    return max(math.ceil(final_fraction * batch_size), math.floor(decay ** (images_seen // decay_images) * batch_size))


class TopK(nn.Module):
    """Factors that turn the mean over a batch of B images into the mean over the k largest logits; k is set by ``begin``, as a tensor.

    Args:
        batch_size: B, over all processes.
        final_fraction, decay, decay_images: of ``top_k_count``.

    """

    k: Tensor

    def __init__(self, *, batch_size: int, final_fraction: float, decay: float, decay_images: int) -> None:
        super().__init__()
        self.batch_size, self.final_fraction, self.decay, self.decay_images = batch_size, final_fraction, decay, decay_images
        self.register_buffer("k", torch.full((), batch_size), persistent=False)

    def begin(self, images_seen: int) -> None:
        """Set k for the iteration that begins at ``images_seen``."""
        k = top_k_count(self.batch_size, images_seen, final_fraction=self.final_fraction, decay=self.decay, decay_images=self.decay_images)
        self.k.fill_(k)

    def forward(self, logits: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """Return B/k for the k largest of all B logits and 0 for the others; among equal logits the earlier one counts as larger.

        Of n logits that are another number than B, the ⌈k n / B⌉ largest have n / ⌈k n / B⌉.
        """
        k = self.k if len(logits) == self.batch_size else (self.k * (len(logits) / self.batch_size)).ceil()
        ranks = logits.argsort(descending=True, stable=True).argsort()
        return (ranks < k) * (len(logits) / k.to(logits.dtype))
