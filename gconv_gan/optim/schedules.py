"""Schedules (of learning rates, of weights) as pure functions of the images seen, so that nothing about them needs saving."""

import bisect
import math

from gconv_gan.config.optim import (
    ConstantScheduleConfig,
    CosineScheduleConfig,
    LinearScheduleConfig,
    ScheduleConfig,
    StepScheduleConfig,
)


def schedule_factor(config: ScheduleConfig, *, images_seen: int, total_images: int) -> float:
    r"""Return the factor on a base value after n = ``images_seen`` of T = ``total_images`` images.

    constant: 1. linear, with start s: :math:`1 - \max(0, n - s) / (T - s)`, at least 0. cosine, with final factor f and warm-up w:
    :math:`f + (1 - f)\,\tfrac12 (1 + \cos \pi t)` with :math:`t = (n - w) / (E - w)` in [0, 1] and end E, T by default
    (Loshchilov and Hutter, arXiv 1608.03983, without restarts). step, with factor f: :math:`f^m` after m milestones.

    A warm-up over w images multiplies this by :math:`\min(1, (n + 1) / (w + 1))`: never zero, one at n = w (Goyal et al., arXiv
    1706.02677, section 2.2).
    """
    warmup = min(1.0, (images_seen + 1) / (config.warmup_images + 1))
    return warmup * _shape(config, images_seen, total_images)


def _shape(config: ScheduleConfig, images_seen: int, total_images: int) -> float:
    match config:
        case ConstantScheduleConfig():
            return 1.0
        case LinearScheduleConfig(start_images=start):
            return 1.0 - _passed(start, images_seen, total_images)
        case CosineScheduleConfig(final=final, end_images=end, warmup_images=warmup):
            return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * _passed(warmup, images_seen, end or total_images)))
        case StepScheduleConfig(milestones=milestones, factor=factor):
            return factor ** bisect.bisect_right(milestones, images_seen)


def _passed(start: int, images_seen: int, total_images: int) -> float:
    """Return the share of the images between ``start`` and the end that has been seen, in [0, 1]; 0 where nothing lies between."""
    if start >= total_images:
        return 0.0
    return min(max(0, images_seen - start) / (total_images - start), 1.0)
