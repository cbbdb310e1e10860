"""Cross-entropy with smoothed and mixed labels."""

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def mixed_cross_entropy(
    logits: Float[Tensor, "b k"],
    labels: Int[Tensor, " b"],
    others: Int[Tensor, " b"],
    *,
    weight: Float[Tensor, ""] | None = None,
    smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    r"""Return :math:`\lambda\, H(t(y), p) + (1 - \lambda)\, H(t(y'), p)`, mean over the batch.

    With :math:`t(y) = (1 - s)\, e_y + s / k` (label smoothing, Szegedy et al., arXiv 1512.00567, section 7), p the softmax of
    ``logits``, s the ``smoothing``, and :math:`\lambda` the ``weight`` of ``labels`` against ``others`` (mixup,
    CutMix); None: 1.
    """
    loss = F.cross_entropy(logits, labels, label_smoothing=smoothing)
    if weight is None:
        return loss
    return weight * loss + (1 - weight) * F.cross_entropy(logits, others, label_smoothing=smoothing)
