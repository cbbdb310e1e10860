"""The Inception Score as a metric."""

from collections.abc import Mapping
from typing import ClassVar

from gconv_gan.metrics.generative import inception_score
from gconv_gan.metrics.metric import CardLine, Evaluation, Metric, Numbers, Seen
from gconv_gan.metrics.protocols import Protocol


class InceptionScore(Metric):
    """Inception Score: exp of the mutual information between image and predicted class."""

    needs_logits: ClassVar[bool] = True
    has_card_fields: ClassVar[bool] = True

    def least(self, protocol: Protocol) -> int:
        """Return the number of splits: one image per split."""
        return protocol.is_splits

    def card(self, one: Evaluation) -> Mapping[str, CardLine]:
        """Return splits, their order, and whether the last bias is added to the logits."""
        protocol = one.protocol
        return {
            "is_splits": protocol.is_splits,
            "is_permutation_seed": protocol.is_permutation_seed,
            "is_logit_bias": protocol.is_logit_bias,
        }

    def numbers(self, seen: Seen) -> Numbers:
        """Return is_mean and is_std, over the splits."""
        protocol = seen.evaluation.protocol
        bias = seen.evaluation.extractor.logit_bias if protocol.is_logit_bias else None
        logits = seen.logits if bias is None else seen.logits + bias.cpu()
        found = inception_score(logits, splits=protocol.is_splits, permutation_seed=protocol.is_permutation_seed)
        return Numbers({"is_mean": found.mean, "is_std": found.std})
