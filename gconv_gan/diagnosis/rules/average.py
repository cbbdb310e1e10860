"""A rule on the average of the generator's weights."""

from gconv_gan.diagnosis.evidence import Evidence
from gconv_gan.diagnosis.finding import Reading


def length(evidence: Evidence) -> Reading:
    """Return the images that are averaged over half-lives; with a ramp r a half-life lasts at most r times the run."""
    ema, total = evidence.config.ema, evidence.config.trainer.total_images
    longest = float(ema.half_life_images) if ema.ramp is None else min(ema.half_life_images, ema.ramp * total)
    return Reading(total / longest if ema.start_images == 0 or ema.ramp is not None else 1e9)
