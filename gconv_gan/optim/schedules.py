"""Learning-rate schedules as pure functions of the images seen, so that nothing about them needs saving."""

from gconv_gan.config.optim import ConstantScheduleConfig, LinearScheduleConfig, ScheduleConfig


def learning_rate_factor(config: ScheduleConfig, *, images_seen: int, total_images: int) -> float:
    r"""Return the factor on the base learning rate after ``images_seen`` images.

    constant: 1. linear, with start s and end T: :math:`1 - \max(0, n - s) / (T - s)`, at least 0.
    """
    match config:
        case ConstantScheduleConfig():
            return 1.0
        case LinearScheduleConfig(start_images=start):
            if start >= total_images:
                return 1.0
            return 1.0 - min(max(0, images_seen - start) / (total_images - start), 1.0)
