"""The Fréchet distance as a metric."""

from collections.abc import Mapping
from typing import ClassVar

from gconv_gan.metrics.frechet import frechet_distance, frechet_distance_few_fakes
from gconv_gan.metrics.metric import CardLine, Evaluation, Metric, Numbers, Seen

THRESHOLD = "order * eps * largest eigenvalue"
"""Text of the card on the threshold below which eigenvalues are dropped as round-off."""


class FrechetDistance(Metric):
    """Fréchet distance between Gaussians: fid in Inception's features, fd in others."""

    lower_is_better: ClassVar[tuple[str, ...]] = ("fid", "fd")
    has_card_fields: ClassVar[bool] = True

    def fake_features_wanted(self, one: Evaluation) -> bool:
        """Return whether there are fewer fakes than features."""
        return one.few

    def card(self, one: Evaluation) -> Mapping[str, CardLine]:
        """Return which of the two equivalent forms is computed, and the threshold of round-off."""
        return {"frechet": "eigenvalues of A1 S2 A1'" if one.few else "eigenvalues of R2 S1 R2", "frechet_threshold": THRESHOLD}

    def numbers(self, seen: Seen) -> Numbers:
        """Return fid or fd."""
        if seen.evaluation.few:
            value = frechet_distance_few_fakes(seen.fake, seen.real_moments)
        else:
            value = frechet_distance(seen.fake_moments, seen.real_moments, real_root=seen.real_root)
        return Numbers({seen.evaluation.distance_name: value})
