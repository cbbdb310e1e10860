"""The probability of augmentation: adaptive (arXiv 2006.06676) and scheduled."""

import pytest
import torch

from gconv_gan.augment.ada import ADAPipeline
from gconv_gan.augment.adaptive import AdaptiveAugment, Augment, ScheduledAugment
from gconv_gan.augment.tables import AUGMENTATIONS
from gconv_gan.config.schema import constructor


def adaptive(**changes: float) -> AdaptiveAugment:
    settings = {"target": 0.6, "ramp_images": 500_000, "every": 4, "initial_probability": 0.0}
    return AdaptiveAugment(**{**settings, **changes})


def steps(augment: AdaptiveAugment, *signs: int) -> list[float]:
    found = []
    for sign in signs:
        augment.observe(torch.tensor(float(sign)), 64)
        found.append(float(augment.probability))
    return found


def test_p_moves_by_four_batches_every_fourth_step() -> None:
    # StyleGAN2-ADA: sign(0.75 - 0.6)·(64·4)/(500·1000)
    move = 64 * 4 / 500_000
    found = steps(adaptive(), *[48] * 8)
    assert found == pytest.approx([0, 0, 0, move, move, move, move, 2 * move])


def test_p_falls_below_the_target_stays_at_it_and_never_leaves_0_to_1() -> None:
    move = 64 / 500_000
    assert steps(adaptive(every=1, initial_probability=0.5), 0, 64, 64)[-1] == pytest.approx(0.5 + move)
    assert steps(adaptive(every=1), 0) == [0.0]
    assert steps(adaptive(every=1, target=0.5, initial_probability=0.25), 32) == [0.25]
    assert steps(adaptive(every=1, initial_probability=1.0), 64) == [1.0]


def test_the_mean_over_the_steps_decides_and_is_forgotten_afterwards() -> None:
    augment = adaptive(every=2, target=0.5)
    assert steps(augment, 64, -64, 64, 0) == [0.0, 0.0, 0.0, 0.0]  # means 0 and ½
    assert steps(augment, 64, 2)[-1] > 0  # mean 33/64


def test_a_run_that_stops_between_adjustments_goes_on_as_if_it_had_not() -> None:
    unbroken, first, second = adaptive(target=0.1), adaptive(target=0.1), adaptive(target=0.1)
    signs = [10, 60, -3, 7, 9, 11, 0, 64]
    steps(first, *signs[:6])
    second.load_state_dict(first.state_dict())
    assert steps(second, *signs[6:])[-1] == steps(unbroken, *signs)[-1]


def test_p_follows_the_pipeline() -> None:
    images, draws = torch.rand(5, 3, 8, 8), torch.rand(5, ADAPipeline.numbers_per_image)
    assert adaptive()(images, draws).equal(images)
    assert adaptive(initial_probability=0.7)(images, draws).equal(ADAPipeline().augmented(images, draws, 0.7))


@pytest.mark.parametrize(("images", "p"), [(0, 0.0), (50, 0.275), (100, 0.55), (1000, 0.55)])
def test_a_scheduled_p_rises_along_half_a_cosine(images: int, p: float) -> None:
    augment = ScheduledAugment(probability=0.55, rise_images=100)
    augment.begin(images)
    assert augment.probability.item() == pytest.approx(p)
    assert ScheduledAugment(probability=0.3, rise_images=0).probability.item() == 0.3


def test_every_config_becomes_an_augmentation() -> None:
    models = AUGMENTATIONS.models()
    assert constructor(models["none"]()) is None
    for kind in models.keys() - {"none"}:
        assert isinstance(constructor(models[kind]())(), Augment)
