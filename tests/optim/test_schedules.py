"""Learning rates are functions of the images seen."""

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from gconv_gan.config.sections.optim import AnySchedule
from gconv_gan.optim.schedules import schedule_factor
from gconv_gan.optim.tables import SCHEDULES


def schedule(kind: str, **keys: Any) -> AnySchedule:
    config = SCHEDULES.models()[kind](**keys)
    assert isinstance(config, AnySchedule)
    return config


@pytest.mark.parametrize(("images", "factor"), [(0, 1.0), (50, 0.5), (100, 0.0), (130, 0.0)])
def test_linear_decay_from_the_start(images: int, factor: float) -> None:
    assert schedule_factor(schedule("linear"), images_seen=images, total_images=100) == pytest.approx(factor)


@pytest.mark.parametrize(("images", "factor"), [(0, 1.0), (60, 1.0), (80, 0.5), (100, 0.0)])
def test_linear_decay_from_later_on(images: int, factor: float) -> None:
    assert schedule_factor(schedule("linear", start_images=60), images_seen=images, total_images=100) == pytest.approx(factor)


def test_constant() -> None:
    assert schedule_factor(schedule("constant"), images_seen=99, total_images=100) == 1.0


def test_cosine_equals_torch_and_ends_at_its_final_factor() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=100, eta_min=0.1)
    for images in range(101):
        ours = schedule_factor(schedule("cosine", final=0.1), images_seen=images, total_images=100)
        assert ours == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-6)
        optimizer.step()
        theirs.step()


def test_cosine_begins_where_the_warm_up_ends() -> None:
    config = schedule("cosine", warmup_images=20)
    assert schedule_factor(config, images_seen=20, total_images=100) == pytest.approx(1.0)
    assert schedule_factor(config, images_seen=60, total_images=100) == pytest.approx(0.5)
    assert schedule_factor(config, images_seen=100, total_images=100) == pytest.approx(0.0)


def test_a_cosine_may_end_before_the_run() -> None:
    # R3GAN's learning rate on CIFAR-10, 2e-4 -> 5e-5: start, mean of both ends, end, constant after it
    config = schedule("cosine", final=0.25, end_images=80)
    factors = [schedule_factor(config, images_seen=images, total_images=100) for images in (0, 40, 80, 100)]
    assert factors == pytest.approx([1.0, 0.625, 0.25, 0.25])


@pytest.mark.parametrize(("images", "factor"), [(0, 1.0), (59, 1.0), (60, 0.2), (119, 0.2), (120, 0.04), (500, 0.04)])
def test_steps_fall_at_their_milestones(images: int, factor: float) -> None:
    config = schedule("step", milestones=(60, 120), factor=0.2)
    assert schedule_factor(config, images_seen=images, total_images=200) == pytest.approx(factor)


def test_milestones_that_do_not_rise_are_refused() -> None:
    with pytest.raises(ValidationError, match="milestones rise"):
        schedule("step", milestones=(120, 60))


@pytest.mark.parametrize("config", [schedule("constant", warmup_images=9), schedule("step", milestones=(50,), warmup_images=9)])
def test_a_warm_up_rises_in_equal_steps_and_never_rests_at_zero(config: AnySchedule) -> None:
    factors = [schedule_factor(config, images_seen=images, total_images=100) for images in range(11)]
    assert factors == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.0])
