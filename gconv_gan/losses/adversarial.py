r"""Adversarial losses of the discriminator and the generator as functions of logits, per image or pair of images.

==================== ======================================== ========================== ==============================
name                 discriminator                            generator                  source
==================== ======================================== ========================== ==============================
hinge                relu(1 − s_r) + relu(1 + s_f)            −s_f                       Lim and Ye, arXiv 1705.02894
non_saturating       softplus(−s_r) + softplus(s_f)           softplus(−s_f)             Goodfellow et al., 1406.2661
wasserstein          s_f − s_r                                −s_f                       Arjovsky et al., 1701.07875
least_squares        ½(s_r − 1)² + ½ s_f²                     ½(s_f − 1)²                Mao et al., 1611.04076
relativistic_pairing softplus(−(s_r − s_f))                   softplus(−(s_f − s_r))     Jolicoeur-Martineau, 1807.00734
==================== ======================================== ========================== ==============================

``s_r``, ``s_f`` are the logits of real and generated images, [B], paired by position; the mean over the batch is minimised.
"""

from typing import ClassVar, Protocol, runtime_checkable

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Logits = Float[Tensor, " b"]


@runtime_checkable
class AdversarialLoss(Protocol):
    """The losses of the discriminator and the generator.

    Attributes:
        boundary: the logit between real and generated; None if only differences of logits are defined.
        relativistic: whether the generator's loss depends on the logits of real images.

    """

    boundary: ClassVar[float | None]
    relativistic: ClassVar[bool]

    def discriminator(self, real: Logits, fake: Logits) -> Logits:
        """Return the discriminator's loss, [B]."""
        ...

    def generator(self, fake: Logits, real: Logits | None = None) -> Logits:
        """Return the generator's loss, [B]; ``real`` is given to relativistic losses alone."""
        ...


class Hinge:
    """L_D = relu(1 − s_r) + relu(1 + s_f), L_G = −s_f."""

    boundary: ClassVar[float | None] = 0.0
    relativistic: ClassVar[bool] = False

    def discriminator(self, real: Logits, fake: Logits) -> Logits:
        """Return L_D, [B]."""
        return F.relu(1 - real) + F.relu(1 + fake)

    def generator(self, fake: Logits, real: Logits | None = None) -> Logits:
        """Return L_G, [B]."""
        return -fake


class NonSaturating:
    """L_D = softplus(−s_r) + softplus(s_f), L_G = softplus(−s_f); softplus keeps its gradient for any logit."""

    boundary: ClassVar[float | None] = 0.0
    relativistic: ClassVar[bool] = False

    def discriminator(self, real: Logits, fake: Logits) -> Logits:
        """Return L_D, [B]."""
        return F.softplus(-real) + F.softplus(fake)

    def generator(self, fake: Logits, real: Logits | None = None) -> Logits:
        """Return L_G, [B]."""
        return F.softplus(-fake)


class Wasserstein:
    """L_D = s_f − s_r, L_G = −s_f; it needs a Lipschitz discriminator (by a penalty or a norm)."""

    boundary: ClassVar[float | None] = None
    relativistic: ClassVar[bool] = False

    def discriminator(self, real: Logits, fake: Logits) -> Logits:
        """Return L_D, [B]."""
        return fake - real

    def generator(self, fake: Logits, real: Logits | None = None) -> Logits:
        """Return L_G, [B]."""
        return -fake


class LeastSquares:
    """L_D = ½(s_r − 1)² + ½ s_f², L_G = ½(s_f − 1)²: the target is 1 for real images, 0 for generated ones."""

    boundary: ClassVar[float | None] = 0.5
    relativistic: ClassVar[bool] = False

    def discriminator(self, real: Logits, fake: Logits) -> Logits:
        """Return L_D, [B]."""
        return 0.5 * ((real - 1).square() + fake.square())

    def generator(self, fake: Logits, real: Logits | None = None) -> Logits:
        """Return L_G, [B]."""
        return 0.5 * (fake - 1).square()


class RelativisticPairing:
    """L_D = softplus(−(s_r − s_f)), L_G = softplus(−(s_f − s_r)): each pair has a real and a generated image.

    Checked against R3GAN's ``Trainer.py`` (arXiv 2501.05441), where the generator step has its own batch of real images.
    """

    boundary: ClassVar[float | None] = None
    relativistic: ClassVar[bool] = True

    def discriminator(self, real: Logits, fake: Logits) -> Logits:
        """Return L_D, [B]."""
        return F.softplus(fake - real)

    def generator(self, fake: Logits, real: Logits | None = None) -> Logits:
        """Return L_G, [B]."""
        if real is None:
            raise ValueError("the relativistic pairing loss compares each generated image with a real one: give the logits of both")
        return F.softplus(real - fake)
