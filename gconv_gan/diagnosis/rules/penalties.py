"""Rules on the penalty of the discriminator's gradient."""

from gconv_gan.diagnosis.evidence import Evidence
from gconv_gan.diagnosis.finding import Absent, Reading
from gconv_gan.diagnosis.rules.discriminator import NO_LINES, is_critic


def usual_gamma(evidence: Evidence) -> float:
    """Return StyleGAN2-ADA's weight for the size of the images and the batch, 0.0002 · size² / batch."""
    return 0.0002 * evidence.config.data.size**2 / evidence.config.trainer.batch_size


def weight(evidence: Evidence) -> Reading | None:
    """Return the weight of a zero-centred penalty over the usual one."""
    gamma = getattr(evidence.config.objective.penalty, "gamma", None)
    return None if gamma is None else Reading(gamma / usual_gamma(evidence))


def largest_share(evidence: Evidence) -> Reading | Absent | None:
    """Return the smaller of the last two windows of the mean penalty over the discriminator's adversarial loss."""
    found = _shares(evidence)
    return Reading(min(found)) if isinstance(found, tuple) else found


def smallest_share(evidence: Evidence) -> Reading | Absent | None:
    """Return the larger of the last two windows of the mean penalty over the discriminator's adversarial loss."""
    found = _shares(evidence)
    return Reading(max(found)) if isinstance(found, tuple) else found


def _shares(evidence: Evidence) -> tuple[float, float] | Absent | None:
    if evidence.config.objective.penalty.kind == "none" or is_critic(evidence):
        return None
    penalty, loss = evidence.windows("penalty"), evidence.windows("loss_d")
    if penalty is None or loss is None:
        return NO_LINES
    before, now = (part / max(abs(whole), 1e-12) for part, whole in zip(penalty, loss, strict=True))
    return before, now


def slope(evidence: Evidence) -> Reading | Absent | None:
    r"""Return the root mean square of :math:`\lVert\nabla D\rVert - 1`, from :math:`P = \lambda E(\lVert\nabla D\rVert - 1)^2`."""
    strength = getattr(evidence.config.objective.penalty, "weight", None)
    if evidence.config.objective.penalty.kind not in ("wgan_gp", "dragan") or strength is None:
        return None
    found = evidence.windows("penalty")
    return NO_LINES if found is None else Reading((min(found) / strength) ** 0.5)
