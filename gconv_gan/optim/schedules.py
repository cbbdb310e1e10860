"""Schedules (of learning rates, of weights) as pure functions of the images seen, without a state to save."""

import bisect
import math
from typing import Annotated

from pydantic import AfterValidator, NonNegativeInt, PositiveInt

from gconv_gan.config.ranges import Fraction, Share
from gconv_gan.config.schema import constructor, give
from gconv_gan.config.sections.optim import AnySchedule


def schedule_factor(config: AnySchedule, *, images_seen: int, total_images: int) -> float:
    r"""Return the factor on a base value after n = ``images_seen`` of T = ``total_images`` images.

    It is the factor of the schedule's kind. A warm-up over w images multiplies it by :math:`\min(1, (n + 1) / (w + 1))`: never zero, one
    at n = w (Goyal et al., arXiv 1706.02677, section 2.2).
    """
    warmup = min(1.0, (images_seen + 1) / (config.warmup_images + 1))
    schedule = give(constructor(config), warmup_images=config.warmup_images)
    return warmup * float(schedule()(images_seen, total_images))


class Constant:
    """The learning rate is constant."""

    def __call__(self, images_seen: int, total_images: int) -> float:
        """Return 1."""
        return 1.0


class Linear:
    r"""The learning rate falls linearly to zero at ``trainer.total_images``.

    .. math:: 1 - \max(0, n - s) / (T - s)

    Args:
        start_images: Images seen before the decay starts (s).

    """

    ends_with_the_run = True

    def __init__(self, *, start_images: NonNegativeInt = 0) -> None:
        self.start_images = start_images

    def __call__(self, images_seen: int, total_images: int) -> float:
        """Return the factor after so many images."""
        return 1.0 - _passed(self.start_images, images_seen, total_images)


class Cosine:
    r"""The learning rate falls along half a cosine from the end of the warm-up to ``end_images``, and is then constant.

    .. math:: f + (1 - f)\,\tfrac12 (1 + \cos \pi t), \qquad t = (n - w) / (E - w) \in [0, 1]

    with the warm-up w (Loshchilov and Hutter, arXiv 1608.03983, without restarts).

    Args:
        final: Factor on the learning rate that is reached at the end (f).
        end_images: Images seen at the end of the decay (E); None: trainer.total_images.
        warmup_images: w.

    """

    def __init__(self, *, final: Share = 0.0, end_images: PositiveInt | None = None, warmup_images: int = 0) -> None:
        self.final, self.end_images, self.warmup_images = final, end_images, warmup_images

    @staticmethod
    def ends_with_the_run(keys: AnySchedule) -> bool:
        """Return whether the schedule depends on the length of the run."""
        return getattr(keys, "end_images", None) is None

    def __call__(self, images_seen: int, total_images: int) -> float:
        """Return the factor after so many images."""
        passed = _passed(self.warmup_images, images_seen, self.end_images or total_images)
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * passed))


def _rising(milestones: tuple[int, ...]) -> tuple[int, ...]:
    if list(milestones) != sorted(set(milestones)):
        raise ValueError("milestones rise, each once")
    return milestones


class Step:
    """The learning rate is multiplied by a factor at each milestone: f to the power m after m of them.

    Args:
        milestones: Images seen at the milestones, in increasing order.
        factor: Factor of each milestone (f).

    """

    def __init__(self, *, milestones: Annotated[tuple[PositiveInt, ...], AfterValidator(_rising)], factor: Fraction = 0.1) -> None:
        self.milestones, self.factor = milestones, factor

    def __call__(self, images_seen: int, total_images: int) -> float:
        """Return the factor after so many images."""
        return float(self.factor ** bisect.bisect_right(self.milestones, images_seen))


def _passed(start: int, images_seen: int, total_images: int) -> float:
    """Return the share of the images between ``start`` and the end that has been seen, in [0, 1]; 0 for an empty interval."""
    if start >= total_images:
        return 0.0
    return min(max(0, images_seen - start) / (total_images - start), 1.0)
