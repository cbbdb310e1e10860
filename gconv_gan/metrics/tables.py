"""The tables of metrics and extractors."""

from gconv_gan.config.errors import UserError
from gconv_gan.config.hints import did_you_mean
from gconv_gan.config.schema import Table
from gconv_gan.metrics.extractors.foundation import clip, dinov2
from gconv_gan.metrics.extractors.inception import checkpoint, efficientnet_lite0, inception
from gconv_gan.metrics.metric import Metric
from gconv_gan.metrics.protocols import Protocol
from gconv_gan.metrics.scores.clipped import ClippedDensityCoverage
from gconv_gan.metrics.scores.cmmd import GaussianDiscrepancy
from gconv_gan.metrics.scores.f_score import FScore
from gconv_gan.metrics.scores.fid import FrechetDistance
from gconv_gan.metrics.scores.fid_infinity import ExtrapolatedDistance
from gconv_gan.metrics.scores.inception_score import InceptionScore
from gconv_gan.metrics.scores.intra_fid import IntraClassDistance
from gconv_gan.metrics.scores.kid import KernelDistance
from gconv_gan.metrics.scores.mind import MongeDistance
from gconv_gan.metrics.scores.prdc import PrecisionRecallDensityCoverage

METRICS = Table(
    "METRICS",
    {
        "fid": FrechetDistance,
        "is": InceptionScore,
        "kid": KernelDistance,
        "prdc": PrecisionRecallDensityCoverage,
        "intra_fid": IntraClassDistance,
        "fid_infinity": ExtrapolatedDistance,
        "mind": MongeDistance,
        "cmmd": GaussianDiscrepancy,
        "clipped": ClippedDensityCoverage,
        "f_score": FScore,
    },
)
"""Metrics, see ``Metric``, in the order of their numbers; ``--metrics`` lists them."""

EXTRACTORS = Table(
    "EXTRACTORS",
    {"inception": inception, "efficientnet_lite0": efficientnet_lite0, "dinov2": dinov2, "clip": clip, "checkpoint": checkpoint},
    given=("name", "weights", "device"),
)
"""Extractors, see ``Extractor``. A row receives those of these arguments for which it has a keyword: ``name`` as typed
("inception:clean"; a row without it has no variants), ``weights`` (a file), ``device``."""


def metrics_of(protocol: Protocol) -> dict[str, Metric]:
    """Return the metrics of a protocol by their names, in the order of the table.

    Raises:
        UserError: there is no such metric.

    """
    for name in protocol.metrics:
        if name not in METRICS:
            raise UserError(f"there is no metric {name!r}; known are {', '.join(METRICS)}{did_you_mean(name, METRICS)}")
    return {name: row() for name, row in METRICS.items() if name in protocol.metrics}


OF_CLASSIFIERS = frozenset({"loss", "calibration_error"})
"""Measures of a classifier on its test images for which lower is better."""


def lower_is_better() -> frozenset[str]:
    """Return the keys of the numbers for which lower is better: those of all metrics, plug-ins included, and of classifiers."""
    return OF_CLASSIFIERS.union(*(metric.lower_is_better for metric in METRICS.values()))
