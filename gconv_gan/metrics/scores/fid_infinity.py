"""The extrapolated Fréchet distance as a metric."""

from collections.abc import Mapping
from typing import ClassVar

from gconv_gan.metrics.extrapolation import counts_to_fit, fid_infinity
from gconv_gan.metrics.metric import CardLine, Evaluation, Metric, Numbers, Seen
from gconv_gan.metrics.protocols import Protocol
from gconv_gan.metrics.scores.fid import THRESHOLD


class ExtrapolatedDistance(Metric):
    """Fréchet distance extrapolated to infinitely many fakes."""

    needs_fake_features: ClassVar[bool] = True
    lower_is_better: ClassVar[tuple[str, ...]] = ("fid_infinity", "fd_infinity")
    has_card_fields: ClassVar[bool] = True

    def least(self, protocol: Protocol) -> int:
        """Return the number of images of which a tenth, the smallest subset, is two."""
        return 20

    def card(self, one: Evaluation) -> Mapping[str, CardLine]:
        """Return sizes and seed of the subsets, and the fitted function."""
        return {
            "frechet_threshold": THRESHOLD,
            "infinity_counts": counts_to_fit(one.num_fake, points=one.protocol.infinity_points),
            "infinity_fit": "least squares, a + b / n",
            "infinity_seed": one.protocol.infinity_seed,
        }

    def numbers(self, seen: Seen) -> Numbers:
        """Return fid_infinity or fd_infinity."""
        one = seen.evaluation
        counts = counts_to_fit(one.num_fake, points=one.protocol.infinity_points)
        found = fid_infinity(seen.fake, seen.real_moments, counts=counts, seed=one.protocol.infinity_seed, real_root=seen.real_root)
        return Numbers({f"{one.distance_name}_infinity": found.value})
