"""The base of metrics: required data, numbers, and lines on the score card."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

from jaxtyping import Float, Float32, Float64, Int
from torch import Tensor

from gconv_gan.metrics.extractors.inception import Extractor
from gconv_gan.metrics.images.extraction import Extraction
from gconv_gan.metrics.neighbours import Neighbourhoods, neighbourhoods
from gconv_gan.metrics.protocols import Protocol
from gconv_gan.metrics.references.reference_statistics import ReferenceStatistics
from gconv_gan.metrics.statistics import Moments

CardLine = bool | int | float | str | tuple[int, ...] | None
"""Value of one line of a card."""


@dataclass(frozen=True)
class Evaluation:
    """One protocol, for the first ``num_fake`` images, in one extractor's features, against one reference."""

    protocol: Protocol
    num_fake: int
    extractor: Extractor
    reference: ReferenceStatistics
    labels: Int[Tensor, " n"] | None = None
    """The requested class of each fake; None if no metric of the protocol needs classes."""

    @property
    def few(self) -> bool:
        """Whether there are fewer fakes than features, so that a smaller eigenproblem gives the distance."""
        return self.num_fake < self.extractor.feature_dim

    @property
    def num_real(self) -> int | None:
        """Return the number of reals; None if it is not known."""
        return self.reference.moments.count

    @property
    def distance_name(self) -> str:
        """Return the key of a Fréchet distance: "fid" in Inception's features, "fd" in any other."""
        return "fid" if self.extractor.is_inception else "fd"


@dataclass(frozen=True)
class Seen:
    """Features, logits and moments of fakes and reals, on the device of the extractor."""

    evaluation: Evaluation
    extraction: Extraction

    @property
    def fake(self) -> Float32[Tensor, "m d"]:
        """Return the features of the fakes, for a metric that ``needs_fake_features`` or ``needs_real_features``."""
        assert self.extraction.features is not None
        return self.extraction.features

    @property
    def real(self) -> Float[Tensor, "n d"]:
        """Return the features of the reals, for a metric that ``needs_real_features``."""
        assert self.evaluation.reference.features is not None
        return self.evaluation.reference.features.to(self.evaluation.extractor.device)

    @property
    def logits(self) -> Float32[Tensor, "m k"]:
        """Return the logits of the fakes, without the last bias, for a metric that ``needs_logits``."""
        assert self.extraction.logits is not None
        return self.extraction.logits

    @property
    def fake_moments(self) -> Moments:
        """Return mean and covariance of the fakes' features."""
        return self.extraction.moments

    @property
    def real_moments(self) -> Moments:
        """Return mean and covariance of the reals' features."""
        moments, device = self.evaluation.reference.moments, self.evaluation.extractor.device
        return Moments(moments.count, moments.mean.to(device), moments.covariance.to(device))

    @property
    def real_root(self) -> Float64[Tensor, "d d"]:
        """Return the positive semi-definite root of the covariance of the reals' features."""
        return self.evaluation.reference.root.to(self.evaluation.extractor.device)

    @cached_property
    def neighbourhoods(self) -> Neighbourhoods:
        """The precision, recall, density and coverage for the protocol's k and comparison, computed once for all metrics that use them."""
        one = self.evaluation
        radii = one.reference.squared_radii(one.protocol.neighbours, one.extractor.device)
        return neighbourhoods(self.fake, self.real, k=one.protocol.neighbours, comparison=one.protocol.comparison, real_radii=radii)


@dataclass(frozen=True)
class Numbers:
    """Result of a metric: its scores by key and, if the score is a mean over classes, the number of each class."""

    scores: Mapping[str, float]
    per_class: Mapping[str, float] = field(default_factory=dict)


class Metric:
    """Base of the rows of ``METRICS``. A metric overrides ``numbers`` and sets its attributes; its constructor takes no arguments.

    Attributes:
        needs_fake_features: whether it needs the features of every fake, not only their moments.
        needs_real_features: whether it needs the features of every real (and every fake).
        needs_logits: whether it needs the logits of every fake.
        needs_classes: whether it needs the class of every fake and real.
        lower_is_better: keys of the numbers for which lower is better; for all others higher is better.
        has_card_fields: whether its lines are fields of ``FormulaCard``; otherwise the card stores them under its name.

    """

    needs_fake_features: ClassVar[bool] = False
    needs_real_features: ClassVar[bool] = False
    needs_logits: ClassVar[bool] = False
    needs_classes: ClassVar[bool] = False
    lower_is_better: ClassVar[tuple[str, ...]] = ()
    has_card_fields: ClassVar[bool] = False

    def fake_features_wanted(self, one: Evaluation) -> bool:
        """Return whether the features of every fake are kept for this evaluation."""
        return self.needs_fake_features or self.needs_real_features

    def least(self, protocol: Protocol) -> int:
        """Return the least number of fakes and of reals that it needs."""
        return 2

    def card(self, one: Evaluation) -> Mapping[str, CardLine]:
        """Return the settings of the formula that change the numbers; scores with different lines are not comparable."""
        return {}

    def numbers(self, seen: Seen) -> Numbers:
        """Return the numbers, finite, by their keys in ``--json``."""
        raise NotImplementedError
