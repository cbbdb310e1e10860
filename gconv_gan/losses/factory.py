"""Config of the objective -> loss, penalty, regularisers."""

from gconv_gan.config.objective import ConsistencyConfig, LeCamConfig, ObjectiveConfig, PenaltyConfig, TopKConfig
from gconv_gan.losses.adversarial import AdversarialLoss, Hinge, LeastSquares, NonSaturating, RelativisticPairing, Wasserstein
from gconv_gan.losses.consistency import Consistency
from gconv_gan.losses.lecam import LeCam
from gconv_gan.losses.penalties import DRAGAN, R1, R1R2, R2, WGANGP, Penalty
from gconv_gan.losses.top_k import TopK


def adversarial_loss(config: ObjectiveConfig) -> AdversarialLoss:
    """Return the loss that ``config.loss`` names."""
    match config.loss:
        case "hinge":
            return Hinge()
        case "non_saturating":
            return NonSaturating()
        case "wasserstein":
            return Wasserstein()
        case "least_squares":
            return LeastSquares()
        case "relativistic_pairing":
            return RelativisticPairing()


def gradient_penalty(config: PenaltyConfig) -> Penalty | None:
    """Return the penalty that ``config.kind`` names; None for none."""
    match config.kind:
        case "none":
            return None
        case "r1":
            return R1(gamma=config.gamma)
        case "r2":
            return R2(gamma=config.gamma)
        case "r1_r2":
            return R1R2(gamma=config.gamma)
        case "wgan_gp":
            return WGANGP(weight=config.weight)
        case "dragan":
            return DRAGAN(weight=config.weight)


def consistency(config: ConsistencyConfig) -> Consistency | None:
    """Return the regulariser; None where both weights are 0."""
    return Consistency(config.real_weight, config.fake_weight) if config.real_weight or config.fake_weight else None


def lecam(config: LeCamConfig) -> LeCam | None:
    """Return the regulariser with its averages at 0; None where its weight is 0."""
    return LeCam(weight=config.weight, decay=config.decay, start_images=config.start_images) if config.weight else None


def top_k(config: TopKConfig, batch_size: int) -> TopK | None:
    """Return the factors on the generator's losses; None where all images of a batch always count."""
    if config.final_fraction == 1:
        return None
    return TopK(batch_size=batch_size, final_fraction=config.final_fraction, decay=config.decay, decay_images=config.decay_images)
