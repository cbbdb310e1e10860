"""Config of the objective -> adversarial loss."""

from gconv_gan.config.runs import ObjectiveConfig
from gconv_gan.losses.adversarial import AdversarialLoss, Hinge, NonSaturating


def adversarial_loss(config: ObjectiveConfig) -> AdversarialLoss:
    """Return the loss that ``config.loss`` names."""
    match config.loss:
        case "hinge":
            return Hinge()
        case "non_saturating":
            return NonSaturating()
