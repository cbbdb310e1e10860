"""The tables of adversarial losses and penalties: a new one is its class and a row here."""

from gconv_gan.config.schema import Table
from gconv_gan.config.sections.objective import AnyPenalty
from gconv_gan.losses.adversarial import Hinge, LeastSquares, NonSaturating, RelativisticPairing, Wasserstein
from gconv_gan.losses.penalties import DRAGAN, R1, R1R2, R2, WGANGP

LOSSES = Table(
    "LOSSES",
    {
        "hinge": Hinge,
        "non_saturating": NonSaturating,
        "wasserstein": Wasserstein,
        "least_squares": LeastSquares,
        "relativistic_pairing": RelativisticPairing,
    },
)
"""Adversarial losses, see ``AdversarialLoss``."""

PENALTIES = Table("PENALTIES", {"none": None, "r1": R1, "r2": R2, "r1_r2": R1R2, "wgan_gp": WGANGP, "dragan": DRAGAN}, base=AnyPenalty)
"""Penalties on the discriminator's gradient, see ``Penalty``."""
