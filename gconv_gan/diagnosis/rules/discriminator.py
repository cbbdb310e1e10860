"""Rules on the balance of the two networks, read from the log and from logits."""

import math
import statistics

from gconv_gan.config.schema import table
from gconv_gan.diagnosis.evidence import Evidence
from gconv_gan.diagnosis.finding import Absent, Reading
from gconv_gan.diagnosis.overfitting import overfitting

EARLY = 0.1
"""Share of the run whose gradients are the usual ones."""
UNTRAINED = 0.2
"""Share of the run in which the discriminator may be far ahead of a healthy generator."""
NO_GRADIENT = 1e-3
"""Share of its early norm below which a gradient has vanished."""
NO_LINES = Absent("the log has no two windows of 5 % of the run yet")
NO_DATA = "the training images were not read"


def is_critic(evidence: Evidence) -> bool:
    """Return whether the discriminator is a critic without a boundary, whose logits should be far apart (Wasserstein)."""
    loss = table("LOSSES")[evidence.config.objective.loss]
    return loss.boundary is None and not loss.relativistic


def accuracy(evidence: Evidence) -> Reading | Absent | None:
    """Return the smaller of both accuracies in the better of the last two windows."""
    if is_critic(evidence):
        return None
    real, fake = evidence.windows("accuracy_real"), evidence.windows("accuracy_fake")
    return NO_LINES if real is None or fake is None else Reading(min(*real, *fake))


def loss(evidence: Evidence) -> Reading | Absent | None:
    """Return the larger of the discriminator's mean losses in the last two windows."""
    if is_critic(evidence):
        return None
    found = evidence.windows("loss_d")
    return NO_LINES if found is None else Reading(max(found))


def separation(evidence: Evidence) -> Reading | Absent | None:
    r"""Return :math:`(E s_r - E s_f) / \sqrt{(v_r + v_f) / 2}`, the sensitivity index d' of detection."""
    if is_critic(evidence):
        return None
    logits = evidence.measured.logits if evidence.measured else None
    if logits is None:
        return _absent(evidence, "logits", NO_DATA)
    spread = math.sqrt(float(logits.train.var() + logits.fake.var()) / 2)
    return Reading(float(logits.train.mean() - logits.fake.mean()) / max(spread, 1e-12))


def blind(evidence: Evidence) -> Reading | Absent | None:
    """Return the largest mean of both accuracies that any two successive lines had since the start.

    Without gradient it says nothing on the discriminator: training has stopped.
    """
    real, fake = dict(evidence.series("accuracy_real")), dict(evidence.series("accuracy_fake"))
    means = [(real[images] + fake[images]) / 2 for images in real if images in fake]
    if len(means) < 2 or evidence.images_seen < EARLY * evidence.config.trainer.total_images:
        return Absent("less than 10 % of the run is logged")
    gradient = small_gradient(evidence)
    stopped = isinstance(gradient, Reading) and gradient.value < 10 * NO_GRADIENT
    return Reading(max(min(pair) for pair in zip(means, means[1:], strict=False)), healthy=stopped)


def large_gradient(evidence: Evidence) -> Reading | Absent:
    """Return the smaller of the generator's mean gradient norms in the last two windows."""
    found = evidence.windows("grad_norm_g")
    return NO_LINES if found is None else Reading(min(found))


def small_gradient(evidence: Evidence) -> Reading | Absent:
    """Return the larger of the generator's mean gradient norms in the last two windows over the median of the first tenth of the run."""
    found = evidence.windows("grad_norm_g")
    early = [norm for images, norm in evidence.series("grad_norm_g") if images <= EARLY * evidence.config.trainer.total_images]
    if found is None or len(early) < 2:
        return NO_LINES
    return Reading(max(found) / max(statistics.median(early), 1e-30))


def real_signs(evidence: Evidence) -> Reading | Absent | None:
    """Return r_t = E sign(D(training image)), the smaller of the last two windows.

    In the first fifth of a run it tells of a generator that is still easy to recognise, not of overfitting.
    """
    if table("LOSSES")[evidence.config.objective.loss].boundary is None:
        return None
    if evidence.images_seen < UNTRAINED * evidence.config.trainer.total_images:
        return Absent("less than a fifth of the run is trained")
    found = evidence.windows("sign_real")
    if found is None:
        return NO_LINES
    return Reading(min(found), threshold=0.8 if evidence.config.augment.kind == "none" else 0.9)


def held_out(evidence: Evidence) -> Reading | Absent:
    """Return the share r_v of ``overfitting``: at a checkpoint, or during training the smaller of the last two windows."""
    logits = evidence.measured.logits if evidence.measured else None
    rises = rising(evidence.scores("fd", "fid"))
    if evidence.measured is None and evidence.config.trainer.held_out:
        found = evidence.windows("overfitting")
        return NO_LINES if found is None else Reading(min(found), severity="act" if rises else None)
    if logits is None:
        return _absent(evidence, "logits", NO_DATA)
    if logits.held_out is None:
        return _absent(evidence, "held_out", "no images are held out of training")
    share = overfitting(logits)
    if share is None:
        return Absent("the discriminator tells training images from generated ones by less than three standard errors")
    return Reading(share, severity="act" if rises else None)


def rising(scores: list[tuple[int, float]]) -> bool:
    """Return whether the last three scores rise, each above the best."""
    last = [value for _, value in scores[-3:]]
    return len(last) == 3 and min(value for _, value in scores) < last[0] < last[1] < last[2]


def augmentation(evidence: Evidence) -> Reading | Absent | None:
    """Return the probability of the augmentation, the smaller of the last two windows."""
    if evidence.config.augment.kind == "none" or not evidence.series("augment_p"):
        return None
    found = evidence.windows("augment_p")
    return NO_LINES if found is None else Reading(min(found))


def _absent(evidence: Evidence, name: str, reason: str) -> Absent:
    return Absent(reason if evidence.measured is None else evidence.measured.absent.get(name, reason))
