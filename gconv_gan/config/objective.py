"""Config of what the two networks minimise: loss, penalty, regularisers, and the augmentation of what the discriminator sees."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from gconv_gan.config.base import Config
from gconv_gan.config.optim import ConstantScheduleConfig, ScheduleConfig

Fraction = Annotated[float, Field(ge=0, le=1)]


class NoPenaltyConfig(Config):
    """The discriminator's gradient is not penalised."""

    kind: Literal["none"] = "none"


class _Penalty(Config):
    every: PositiveInt = 1
    """Discriminator steps between penalties, each then weighted by their number (StyleGAN2: 16)."""
    schedule: ScheduleConfig = ConstantScheduleConfig()
    """Factor on the weight over the run."""


class _ZeroCentredPenalty(_Penalty):
    gamma: PositiveFloat = 0.01
    """Weight; half of it multiplies the mean squared gradient norm (CIFAR-10: StyleGAN2-ADA 0.01, R3GAN 0.05 falling to 0.005)."""


class R1Config(_ZeroCentredPenalty):
    """γ/2 · E‖∇D‖² at real images."""

    kind: Literal["r1"] = "r1"


class R2Config(_ZeroCentredPenalty):
    """γ/2 · E‖∇D‖² at generated images."""

    kind: Literal["r2"] = "r2"


class R1R2Config(_ZeroCentredPenalty):
    """R1 and R2 together, as in R3GAN."""

    kind: Literal["r1_r2"] = "r1_r2"


class _OneCentredPenalty(_Penalty):
    weight: PositiveFloat = 10.0
    """λ of λ · E(‖∇D‖ − 1)²."""


class WGANGPConfig(_OneCentredPenalty):
    """λ · E(‖∇D‖ − 1)² between each real image and a generated one."""

    kind: Literal["wgan_gp"] = "wgan_gp"


class DRAGANConfig(_OneCentredPenalty):
    """λ · E(‖∇D‖ − 1)² near each real image."""

    kind: Literal["dragan"] = "dragan"


PenaltyConfig = Annotated[NoPenaltyConfig | R1Config | R2Config | R1R2Config | WGANGPConfig | DRAGANConfig, Field(discriminator="kind")]


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
    decay: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Share of an average that a discriminator step keeps."""
    start_images: NonNegativeInt = 64_000
    """Images seen before it sets in (1,000 steps of 64)."""


class TopKConfig(Config):
    """Top-k training: only the generated images with the k largest logits teach the generator."""

    final_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Least share of the batch that k falls to (the paper: 0.5); 1: off."""
    decay: Annotated[float, Field(gt=0, le=1)] = 0.99
    """Factor on k after every ``decay_images``."""
    decay_images: PositiveInt = 50_000
    """Images between two falls of k (the paper: an epoch)."""


class ObjectiveConfig(Config):
    """What the two networks minimise."""

    loss: Literal["hinge", "non_saturating", "wasserstein", "least_squares", "relativistic_pairing"] = "hinge"
    """Adversarial loss."""
    penalty: PenaltyConfig = NoPenaltyConfig()
    """Penalty on the discriminator's gradient with respect to its images."""
    consistency: ConsistencyConfig = ConsistencyConfig()
    lecam: LeCamConfig = LeCamConfig()
    top_k: TopKConfig = TopKConfig()


class NoAugmentConfig(Config):
    """The discriminator sees the images as they are."""

    kind: Literal["none"] = "none"


class DiffAugmentConfig(Config):
    """DiffAugment: colour, translation and cut-out of every image, real and generated, in both players' steps."""

    kind: Literal["diff_augment"] = "diff_augment"
    policy: tuple[Literal["color", "translation", "cutout"], ...] = ("color", "translation", "cutout")
    """What is applied."""


class _Pipeline(Config):
    blit: NonNegativeFloat = 1.0
    """Factor on p for mirror images, turns by 90° and shifts by whole pixels; 0: none of them."""
    geometry: NonNegativeFloat = 1.0
    """Factor on p for scaling, rotation and shifts by fractions of a pixel."""
    color: NonNegativeFloat = 1.0
    """Factor on p for brightness, contrast, luma flip, hue and saturation (R3GAN: 0.5)."""
    cutout: NonNegativeFloat = 0.0
    """Factor on p for a cut-out of half the side (R3GAN: 1)."""


class ADAConfig(_Pipeline):
    """Adaptive augmentation: StyleGAN2-ADA's pipeline, its probability p driven by the discriminator's overfitting."""

    kind: Literal["ada"] = "ada"
    target: Annotated[float, Field(gt=-1, lt=1)] = 0.6
    """Wanted mean sign of the real logits; above it p rises, below it p falls."""
    ramp_images: PositiveInt = 500_000
    """Images in which p can rise from 0 to 1."""
    every: PositiveInt = 4
    """Discriminator steps between adjustments of p."""
    initial_probability: Fraction = 0.0
    """p at the start."""


class ScheduledAugmentConfig(_Pipeline):
    """The same pipeline under a probability that depends on the images seen alone (R3GAN)."""

    kind: Literal["scheduled"] = "scheduled"
    probability: Fraction = 0.55
    """p in the end (R3GAN: 0.55 on CIFAR-10, 0.3 on FFHQ)."""
    rise_images: NonNegativeInt = 0
    """Images in which p rises from 0 along half a cosine; 0: constant."""


AugmentConfig = Annotated[NoAugmentConfig | DiffAugmentConfig | ADAConfig | ScheduledAugmentConfig, Field(discriminator="kind")]
