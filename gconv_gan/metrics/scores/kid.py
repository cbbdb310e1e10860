"""The Kernel Inception Distance as a metric."""

from collections.abc import Mapping
from typing import ClassVar

from gconv_gan.metrics.generative import kid
from gconv_gan.metrics.metric import CardLine, Evaluation, Metric, Numbers, Seen


class KernelDistance(Metric):
    """Kernel Inception Distance: unbiased squared MMD of a cubic kernel, over subsets."""

    needs_real_features: ClassVar[bool] = True
    lower_is_better: ClassVar[tuple[str, ...]] = ("kid_mean",)
    has_card_fields: ClassVar[bool] = True

    def card(self, one: Evaluation) -> Mapping[str, CardLine]:
        """Return the kernel, and number, size and seed of the subsets."""
        return {
            "kid_kernel": "(x.y/d + 1)^3, unbiased",
            "kid_subsets": one.protocol.kid_subsets,
            "kid_subset_size": _subset_size(one),
            "kid_seed": one.protocol.kid_seed,
        }

    def numbers(self, seen: Seen) -> Numbers:
        """Return kid_mean and kid_std; kid_std is absent if every subset is the whole of both sets, since all subsets are then equal."""
        fake, real, protocol, size = seen.fake, seen.real, seen.evaluation.protocol, _subset_size(seen.evaluation)
        if size == len(fake) == len(real):
            return Numbers({"kid_mean": kid(fake, real, subsets=1, subset_size=size, seed=protocol.kid_seed).mean})
        found = kid(fake, real, subsets=protocol.kid_subsets, subset_size=size, seed=protocol.kid_seed)
        return Numbers({"kid_mean": found.mean, "kid_std": found.std})


def _subset_size(one: Evaluation) -> int:
    """Return the protocol's number of images, or the smaller set."""
    return min(one.protocol.kid_subset_size, one.num_fake, one.num_real or one.num_fake)
