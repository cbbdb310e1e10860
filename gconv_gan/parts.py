"""Every table of parts. A plug-in adds rows: ``parts.CONVS["mine"] = MyConv2d``."""

from gconv_gan.augment.tables import AUGMENTATIONS
from gconv_gan.data.datasets import DATASETS
from gconv_gan.layers.tables import (
    ACTIVATIONS,
    ATTENTIONS,
    BLOCK_NORMS,
    CLASSIFIER_CONVS,
    CLASSIFIER_NORMS,
    CONVS,
    DISCRIMINATOR_CONVS,
    NORMS,
    WEIGHT_NORMS,
)
from gconv_gan.losses.tables import LOSSES, PENALTIES
from gconv_gan.methods.tables import METHODS
from gconv_gan.metrics.protocols import PROTOCOLS
from gconv_gan.metrics.tables import EXTRACTORS, METRICS
from gconv_gan.models.tables import CLASSIFIERS, DISCRIMINATORS, GENERATORS, MAPPINGS
from gconv_gan.optim.tables import OPTIMIZERS, SCHEDULES
from gconv_gan.runtime.tracking import TRACKERS

__all__ = [
    "ACTIVATIONS",
    "ATTENTIONS",
    "AUGMENTATIONS",
    "BLOCK_NORMS",
    "CLASSIFIERS",
    "CLASSIFIER_CONVS",
    "CLASSIFIER_NORMS",
    "CONVS",
    "DATASETS",
    "DISCRIMINATORS",
    "DISCRIMINATOR_CONVS",
    "EXTRACTORS",
    "GENERATORS",
    "LOSSES",
    "MAPPINGS",
    "METHODS",
    "METRICS",
    "NORMS",
    "OPTIMIZERS",
    "PENALTIES",
    "PROTOCOLS",
    "SCHEDULES",
    "TRACKERS",
    "WEIGHT_NORMS",
]
