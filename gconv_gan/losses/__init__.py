"""Losses, penalties and regularisers as pure functions and small classes, for the package's loop and for any other.

Shapes: images [B, C, H, W] in [-1, 1], labels [B] or None, logits [B]; every loss is a scalar [].
"""

from gconv_gan.losses.adversarial import AdversarialLoss, Hinge, LeastSquares, NonSaturating, RelativisticPairing, Wasserstein
from gconv_gan.losses.consistency import Consistency
from gconv_gan.losses.lecam import LeCam
from gconv_gan.losses.objective import Numbers, Objective, discriminator_loss, generator_loss
from gconv_gan.losses.penalties import DRAGAN, R1, R1R2, R2, WGANGP, Examples, Penalty, PenaltyInputs
from gconv_gan.losses.top_k import TopK

__all__ = [
    "AdversarialLoss",
    "Consistency",
    "DRAGAN",
    "Examples",
    "Hinge",
    "LeCam",
    "LeastSquares",
    "NonSaturating",
    "Numbers",
    "Objective",
    "Penalty",
    "PenaltyInputs",
    "R1",
    "R1R2",
    "R2",
    "RelativisticPairing",
    "TopK",
    "WGANGP",
    "Wasserstein",
    "discriminator_loss",
    "generator_loss",
]
