"""The mean of the classes' Fréchet distances as a metric."""

from collections.abc import Mapping
from typing import ClassVar

from gconv_gan.metrics.intra_class import class_sizes, intra_class_distances
from gconv_gan.metrics.metric import CardLine, Evaluation, Metric, Numbers, Seen
from gconv_gan.metrics.scores.fid import THRESHOLD


class IntraClassDistance(Metric):
    """Mean over the classes of the Fréchet distance between the fakes and the reals of a class."""

    needs_real_features: ClassVar[bool] = True
    needs_classes: ClassVar[bool] = True
    lower_is_better: ClassVar[tuple[str, ...]] = ("intra_fid", "intra_fd")
    has_card_fields: ClassVar[bool] = True

    def card(self, one: Evaluation) -> Mapping[str, CardLine]:
        """Return the number of images of every class, on which the bias of its distance depends."""
        assert one.labels is not None
        assert one.reference.labels is not None
        classes = len(one.reference.classes)
        return {
            "frechet_threshold": THRESHOLD,
            "intra_num_fake": class_sizes(one.labels, classes),
            "intra_num_real": class_sizes(one.reference.labels, classes),
        }

    def numbers(self, seen: Seen) -> Numbers:
        """Return intra_fid or intra_fd, and the distance of each class."""
        one = seen.evaluation
        assert one.labels is not None
        assert one.reference.labels is not None
        classes = one.reference.classes
        distances = intra_class_distances(seen.fake, one.labels, seen.real, one.reference.labels, num_classes=len(classes))
        return Numbers({f"intra_{one.distance_name}": sum(distances) / len(distances)}, dict(zip(classes, distances, strict=True)))
