"""LeCam regularisation (arXiv 2104.03310)."""

import pytest
import torch

from gconv_gan.losses.lecam import LeCam


def made(**changes: float) -> LeCam:
    return LeCam(**{"weight": 0.3, "decay": 0.9, "start_images": 100, **changes})


def test_the_penalty_is_that_of_the_equation() -> None:
    regulariser = made()
    regulariser.real.fill_(0.5)
    regulariser.fake.fill_(-1.0)
    real, fake = torch.tensor([0.0, -3.0]), torch.tensor([0.25, 2.0])
    # relu(s_r + 1): 1, 0; relu(0.5 - s_f): 0.25, 0
    regulariser.begin(100)
    assert regulariser(real, fake).item() == pytest.approx(0.3 * (1 / 2 + 0.0625 / 2))


def test_before_its_start_there_is_no_penalty_and_the_averages_are_the_last_means() -> None:
    regulariser = made()
    regulariser.begin(99)
    regulariser.follow(torch.tensor(2.0), torch.tensor(-2.0))
    assert (regulariser.real.item(), regulariser.fake.item()) == (2.0, -2.0)
    assert regulariser(torch.tensor([5.0]), torch.tensor([5.0])).item() == 0.0
    regulariser.begin(100)
    regulariser.follow(torch.tensor(0.0), torch.tensor(0.0))
    assert (regulariser.real.item(), regulariser.fake.item()) == pytest.approx((1.8, -1.8))


def test_its_gradient_reduces_the_distance_of_real_and_generated_logits() -> None:
    regulariser = made(start_images=0)
    regulariser.real.fill_(1.0)
    regulariser.fake.fill_(-1.0)
    real, fake = torch.ones(3, requires_grad=True), -torch.ones(3, requires_grad=True)
    fake.retain_grad()
    regulariser(real, fake).backward()
    assert (real.grad > 0).all()
    assert (fake.grad < 0).all()


def test_the_averages_are_its_state() -> None:
    assert set(made().state_dict()) == {"real", "fake"}
