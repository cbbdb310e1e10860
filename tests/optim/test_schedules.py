"""Learning rates are functions of the images seen."""

import pytest

from gconv_gan.config.optim import ConstantScheduleConfig, LinearScheduleConfig
from gconv_gan.optim.schedules import learning_rate_factor


@pytest.mark.parametrize(("images", "factor"), [(0, 1.0), (50, 0.5), (100, 0.0), (130, 0.0)])
def test_linear_decay_from_the_start(images: int, factor: float) -> None:
    assert learning_rate_factor(LinearScheduleConfig(), images_seen=images, total_images=100) == pytest.approx(factor)


@pytest.mark.parametrize(("images", "factor"), [(0, 1.0), (60, 1.0), (80, 0.5), (100, 0.0)])
def test_linear_decay_from_later_on(images: int, factor: float) -> None:
    assert learning_rate_factor(LinearScheduleConfig(start_images=60), images_seen=images, total_images=100) == pytest.approx(factor)


def test_constant() -> None:
    assert learning_rate_factor(ConstantScheduleConfig(), images_seen=99, total_images=100) == 1.0
