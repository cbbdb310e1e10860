r"""Adversarial losses of logits: what the discriminator and the generator minimise. Means over the batch.

=============== ============================================== ======================== ==============================
name            discriminator                                  generator                source
=============== ============================================== ======================== ==============================
hinge           relu(1 − s_r) + relu(1 + s_f)                  −s_f                     Lim and Ye, arXiv 1705.02894
non_saturating  softplus(−s_r) + softplus(s_f)                 softplus(−s_f)           Goodfellow et al., 1406.2661
=============== ============================================== ======================== ==============================

``s_r``, ``s_f`` are the logits of real and fake images, [B].
"""

from typing import Protocol, runtime_checkable

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Logits = Float[Tensor, " b"]
Scalar = Float[Tensor, ""]


@runtime_checkable
class AdversarialLoss(Protocol):
    """The two sides of one game."""

    def discriminator(self, real: Logits, fake: Logits) -> Scalar:
        """Return what the discriminator minimises."""
        ...

    def generator(self, fake: Logits) -> Scalar:
        """Return what the generator minimises."""
        ...


class Hinge:
    """L_D = E relu(1 − s_r) + E relu(1 + s_f), L_G = −E s_f."""

    def discriminator(self, real: Logits, fake: Logits) -> Scalar:
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()

    def generator(self, fake: Logits) -> Scalar:
        return -fake.mean()


class NonSaturating:
    """L_D = E softplus(−s_r) + E softplus(s_f), L_G = E softplus(−s_f); softplus keeps its gradient for any logit."""

    def discriminator(self, real: Logits, fake: Logits) -> Scalar:
        return F.softplus(-real).mean() + F.softplus(fake).mean()

    def generator(self, fake: Logits) -> Scalar:
        return F.softplus(-fake).mean()
