"""Rules on collapse and missing modes."""

import torch

from gconv_gan.diagnosis.evidence import Diversity, Evidence
from gconv_gan.diagnosis.finding import Absent, Reading

ENOUGH = 500
"""Images from which a quantile of 1 % is read."""
ENOUGH_OF_A_CLASS = 50
"""Images of a class from which a median distance is read."""
FEW_IN_A_CLASS = 0.5
"""Ratio below which a class shows fewer pictures than it should: the least of many medians of few images lies below that of all."""
WORST = 5
"""Classes that are named."""
LATE = 0.3
"""Last share of the images seen in which a run that has not converged improves."""


def collapse(evidence: Evidence) -> Reading | Absent:
    """Return the standard deviation of a pixel over the latents, mean over pixels, in grey levels of 255."""
    if evidence.measured is None or evidence.measured.deviation is None:
        return Absent("no images were generated")
    return Reading(255 * evidence.measured.deviation)


def diversity(evidence: Evidence) -> Reading | Absent:
    """Return the median distance of a generated image to its nearest other one, over that of training images."""
    found = _distances(evidence)
    return found if isinstance(found, Absent) else Reading(_ratio(found))


def within_classes(evidence: Evidence) -> Reading | Absent | None:
    """Return the least ``diversity`` of a class with enough images, and name up to five classes, the worst first."""
    if not evidence.config.conditional:
        return None
    whole = _distances(evidence)
    if isinstance(whole, Absent):
        return whole
    assert evidence.measured is not None
    classes = {name: found for name, found in evidence.measured.diversity_by_class.items() if len(found.real) >= ENOUGH_OF_A_CLASS}
    if not classes:
        return Absent(f"no class has {ENOUGH_OF_A_CLASS} images among those that are compared: --num takes more")
    ratios = sorted((_ratio(found), name) for name, found in classes.items())
    worst = [f"{name} ({ratio:.2g})" for ratio, name in ratios[1:WORST] if ratio < FEW_IN_A_CLASS]
    return Reading(ratios[0][0], where=f"class {ratios[0][1]}{', then ' if worst else ''}{', '.join(worst)}")


def _ratio(found: Diversity) -> float:
    return float(found.fake.median() / found.real.median().clamp_min(1e-12))


def duplicates(evidence: Evidence) -> Reading | Absent:
    """Return the share of generated images nearer to another one than 99 % of training images are to theirs."""
    found = _distances(evidence)
    if isinstance(found, Absent):
        return found
    if len(found.fake) < ENOUGH:
        return Absent(f"{len(found.fake)} images are too few for a quantile of 1 %: {ENOUGH} are needed")
    return Reading(float((found.fake < torch.quantile(found.real, 0.01)).double().mean()))


def _distances(evidence: Evidence) -> Diversity | Absent:
    measured = evidence.measured
    if measured is None or measured.diversity is None:
        return Absent("the training images were not read" if measured is None else measured.absent.get("diversity", "no images"))
    return measured.diversity


def recall_fall(evidence: Evidence) -> Reading | Absent:
    """Return the last recall (or coverage) as a share of the best one."""
    scores = evidence.scores("recall") or evidence.scores("coverage")
    if len(scores) < 2:
        return Absent("no recall or coverage was scored twice")
    best = max(value for _, value in scores)
    return Reading(scores[-1][1] / best) if best > 0 else Absent("recall was 0 at every score")


def recall(evidence: Evidence) -> Reading | Absent:
    """Return the last recall where precision is above one half."""
    recalls, precisions = evidence.scores("recall"), evidence.scores("precision")
    if not recalls or not precisions:
        return Absent("no precision and recall were scored")
    return Reading(recalls[-1][1], healthy=precisions[-1][1] <= 0.5)


def score_jumps(evidence: Evidence) -> Reading | Absent:
    """Return how often the Fréchet distance rose by more than half from one score to the next."""
    scores = [value for _, value in evidence.scores("fd", "fid")]
    if len(scores) < 2:
        return Absent("no Fréchet distance was scored twice")
    return Reading(float(sum(after > 1.5 * before for before, after in zip(scores, scores[1:], strict=False))))


def improvement(evidence: Evidence) -> Reading | Absent:
    """Return by which share the best Fréchet distance of the last 30 % of the images seen is below the best before."""
    scores = evidence.scores("fd", "fid")
    start = (1 - LATE) * evidence.images_seen
    before, late = [value for images, value in scores if images <= start], [value for images, value in scores if images > start]
    if len(before) < 2 or len(late) < 3:
        return Absent("fewer than two Fréchet distances were scored before the last 30 % of the images seen, or fewer than three in them")
    return Reading(1 - min(late) / min(before))
