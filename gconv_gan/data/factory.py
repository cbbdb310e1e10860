"""Config of the discriminator's augmentation -> the augmentation."""

from gconv_gan.config.objective import AugmentConfig
from gconv_gan.data.ada import ADAPipeline
from gconv_gan.data.diff_augment import DiffAugment
from gconv_gan.data.discriminator_augment import AdaptiveAugment, AnyAugment, ScheduledAugment


def augmentation(config: AugmentConfig) -> AnyAugment | None:
    """Return the augmentation that ``config.kind`` names; None for none."""
    match config.kind:
        case "none":
            return None
        case "diff_augment":
            return DiffAugment(config.policy)
    pipeline = ADAPipeline(blit=config.blit, geometry=config.geometry, color=config.color, cutout=config.cutout)
    match config.kind:
        case "scheduled":
            return ScheduledAugment(pipeline, probability=config.probability, rise_images=config.rise_images)
        case "ada":
            return AdaptiveAugment(
                pipeline,
                target=config.target,
                ramp_images=config.ramp_images,
                every=config.every,
                initial_probability=config.initial_probability,
            )
