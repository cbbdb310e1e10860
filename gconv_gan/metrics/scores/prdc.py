"""Precision, recall, density and coverage as a metric."""

from collections.abc import Mapping
from typing import ClassVar

from gconv_gan.metrics.metric import CardLine, Evaluation, Metric, Numbers, Seen
from gconv_gan.metrics.protocols import Protocol


class PrecisionRecallDensityCoverage(Metric):
    """Precision, recall, density and coverage, from balls about the nearest neighbours."""

    needs_real_features: ClassVar[bool] = True
    has_card_fields: ClassVar[bool] = True

    def least(self, protocol: Protocol) -> int:
        """Return k + 1: an image and its k neighbours."""
        return protocol.neighbours + 1

    def card(self, one: Evaluation) -> Mapping[str, CardLine]:
        """Return k, and whether points on a ball's surface are inside."""
        return {"neighbours": one.protocol.neighbours, "comparison": one.protocol.comparison}

    def numbers(self, seen: Seen) -> Numbers:
        """Return precision, recall, density and coverage."""
        found = seen.neighbourhoods
        return Numbers({"precision": found.precision, "recall": found.recall, "density": found.density, "coverage": found.coverage})
