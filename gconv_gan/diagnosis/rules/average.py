"""A rule on the average of the generator's weights."""

from gconv_gan.diagnosis.evidence import Evidence
from gconv_gan.diagnosis.finding import Absent, Reading

RAW = "_raw"
"""End of the name of a score of the last weights, not the averaged ones."""


SCORE_BOTH = "score the run, and again with --generator-weights raw"
"""What a user does for ``lag``."""


def length(evidence: Evidence) -> Reading:
    """Return the images that are averaged over half-lives; with a ramp r a half-life lasts at most r times the run."""
    ema, total = evidence.config.ema, evidence.config.trainer.total_images
    longest = float(ema.half_life_images) if ema.ramp is None else min(ema.half_life_images, ema.ramp * total)
    return Reading(total / longest if ema.start_images == 0 or ema.ramp is not None else 1e9)


def lag(evidence: Evidence) -> Reading | Absent:
    """Return the Fréchet distance of the averaged weights over that of the last ones, at the last checkpoint where both were scored."""
    found: list[tuple[int, float]] = []
    for key in sorted({key for record in evidence.records for key in record if key.endswith((f"/fd{RAW}", f"/fid{RAW}"))}):
        averaged = dict(evidence.series(key.removesuffix(RAW)))
        found += [(images, averaged[images] / raw) for images, raw in evidence.series(key) if images in averaged and raw > 0]
    if not found:
        return Absent(f"no Fréchet distance of both the averaged and the last weights is stored: {SCORE_BOTH}")
    return Reading(max(found)[1])
