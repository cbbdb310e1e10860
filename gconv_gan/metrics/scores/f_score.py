"""The F-score of precision and recall as a metric."""

from collections.abc import Mapping
from typing import ClassVar

from gconv_gan.metrics.metric import CardLine, Evaluation, Metric, Numbers, Seen
from gconv_gan.metrics.protocols import Protocol


def f_score(precision: float, recall: float) -> float:
    """Return the harmonic mean 2PR / (P + R) of precision and recall; 0 if both are 0.

    van Rijsbergen, "Information Retrieval" (1979), chapter 7, with equal weights; torch-fidelity reports it beside the two of
    Kynkäänniemi et al., arXiv 1904.06991.
    """
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


class FScore(Metric):
    """F-score: the harmonic mean of precision and recall, low where either is low."""

    needs_real_features: ClassVar[bool] = True

    def least(self, protocol: Protocol) -> int:
        """Return k + 1: an image and its k neighbours."""
        return protocol.neighbours + 1

    def card(self, one: Evaluation) -> Mapping[str, CardLine]:
        """Return k, and whether points on a ball's surface are inside."""
        return {"neighbours": one.protocol.neighbours, "comparison": one.protocol.comparison}

    def numbers(self, seen: Seen) -> Numbers:
        """Return f_score."""
        found = seen.neighbourhoods
        return Numbers({"f_score": f_score(found.precision, found.recall)})
