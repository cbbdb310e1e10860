"""The objective of both networks: regularisers, and the common keys of all penalties."""

from typing import Annotated

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt

from gconv_gan.config.base import Config
from gconv_gan.config.ranges import Beta, Fraction
from gconv_gan.config.schema import Choice, PartConfig
from gconv_gan.config.sections.optim import AnySchedule


class AnyPenalty(PartConfig):
    """Common keys of all penalties on the discriminator's gradient."""

    every: PositiveInt = 1
    """Discriminator steps per penalty (lazy regularisation), whose weight is multiplied by this number (StyleGAN2: 16)."""
    schedule: Annotated[AnySchedule, Choice("SCHEDULES", default="constant")]
    """Factor on the weight over the run."""


class ConsistencyConfig(Config):
    """Consistency regularisation (bCR): a penalty on the change of an image's logit under mirroring and shifts."""

    real_weight: NonNegativeFloat = 0.0
    """λ at real images (CR and bCR: 10); 0: off."""
    fake_weight: NonNegativeFloat = 0.0
    """λ at generated images (CR: 0, bCR: 10); 0: off."""


class LeCamConfig(Config):
    """LeCam regularisation: a penalty on the distance of logits from the average logit of the other kind of image."""

    weight: NonNegativeFloat = 0.0
    """λ (CIFAR: 0.3); 0: off."""
    decay: Beta = 0.99
    """Decay of the average per discriminator step."""
    start_images: NonNegativeInt = 64_000
    """Images seen before the penalty starts (1,000 steps of 64)."""


class TopKConfig(Config):
    """Top-k training: the generator's loss uses the generated images with the k largest logits alone."""

    final_fraction: Fraction = 1.0
    """Final k as a share of the batch (the paper: 0.5); 1: off."""
    decay: Fraction = 0.99
    """Factor on k after every ``decay_images``."""
    decay_images: PositiveInt = 50_000
    """Images between two reductions of k (the paper: an epoch)."""


class ObjectiveConfig(Config):
    """The objective of both networks."""

    loss: Annotated[str, Choice("LOSSES", name_only=True, default="hinge")]
    """Adversarial loss."""
    penalty: Annotated[PartConfig, Choice("PENALTIES", default="none")]
    """Penalty on the discriminator's gradient with respect to its images."""
    consistency: ConsistencyConfig = ConsistencyConfig()
    lecam: LeCamConfig = LeCamConfig()
    top_k: TopKConfig = TopKConfig()
