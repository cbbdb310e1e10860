"""What the two networks minimise, besides the parts that are chosen: regularisers, and what every penalty has."""

from typing import Annotated

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt

from gconv_gan.config.base import Config
from gconv_gan.config.optim import AnySchedule
from gconv_gan.config.ranges import Beta, Fraction
from gconv_gan.config.schema import Choice, PartConfig


class AnyPenalty(PartConfig):
    """What every penalty on the discriminator's gradient has."""

    every: PositiveInt = 1
    """Discriminator steps between penalties, each then weighted by their number (StyleGAN2: 16)."""
    schedule: Annotated[AnySchedule, Choice("SCHEDULES", default="constant")]
    """Factor on the weight over the run."""


class ConsistencyConfig(Config):
    """Consistency regularisation (bCR): the logit of an image and of the same image mirrored and shifted should agree."""

    real_weight: NonNegativeFloat = 0.0
    """λ at real images (CR and bCR: 10); 0: off."""
    fake_weight: NonNegativeFloat = 0.0
    """λ at generated images (CR: 0, bCR: 10); 0: off."""


class LeCamConfig(Config):
    """LeCam regularisation: logits are drawn towards the average logit of the other kind of image."""

    weight: NonNegativeFloat = 0.0
    """λ (CIFAR: 0.3); 0: off."""
    decay: Beta = 0.99
    """Share of an average that a discriminator step keeps."""
    start_images: NonNegativeInt = 64_000
    """Images seen before it sets in (1,000 steps of 64)."""


class TopKConfig(Config):
    """Top-k training: only the generated images with the k largest logits teach the generator."""

    final_fraction: Fraction = 1.0
    """Least share of the batch that k falls to (the paper: 0.5); 1: off."""
    decay: Fraction = 0.99
    """Factor on k after every ``decay_images``."""
    decay_images: PositiveInt = 50_000
    """Images between two falls of k (the paper: an epoch)."""


class ObjectiveConfig(Config):
    """What the two networks minimise."""

    loss: Annotated[str, Choice("LOSSES", name_only=True, default="hinge")]
    """Adversarial loss."""
    penalty: Annotated[PartConfig, Choice("PENALTIES", default="none")]
    """Penalty on the discriminator's gradient with respect to its images."""
    consistency: ConsistencyConfig = ConsistencyConfig()
    lecam: LeCamConfig = LeCamConfig()
    top_k: TopKConfig = TopKConfig()
