"""Constants and gradients of the losses (gan_training.md, section 13.2)."""

import pytest
import torch

from gconv_gan.config.runs import ObjectiveConfig
from gconv_gan.losses.factory import adversarial_loss


@pytest.mark.parametrize(("name", "discriminator", "generator"), [("hinge", 2.0, -1.0), ("non_saturating", 1.6265233, 0.3132617)])
def test_constants_at_logits_of_one(name: str, discriminator: float, generator: float) -> None:
    loss, ones = adversarial_loss(ObjectiveConfig(loss=name)), torch.ones(8, dtype=torch.float64)
    assert loss.discriminator(ones, ones).item() == pytest.approx(discriminator, abs=1e-6)
    assert loss.generator(ones).item() == pytest.approx(generator, abs=1e-6)


@pytest.mark.parametrize("name", ["hinge", "non_saturating"])
def test_the_players_pull_the_same_logits_in_opposite_directions(name: str) -> None:
    loss = adversarial_loss(ObjectiveConfig(loss=name))
    real, fake = torch.zeros(4, requires_grad=True), torch.zeros(4, requires_grad=True)
    loss.discriminator(real, fake).backward()
    assert (real.grad < 0).all()
    assert (fake.grad > 0).all()
    fooling = torch.zeros(4, requires_grad=True)
    loss.generator(fooling).backward()
    assert (fooling.grad < 0).all()


def test_non_saturating_keeps_a_gradient_where_the_generator_is_hopeless() -> None:
    fake = torch.full((4,), -50.0, requires_grad=True)
    adversarial_loss(ObjectiveConfig(loss="non_saturating")).generator(fake).backward()
    torch.testing.assert_close(fake.grad, torch.full((4,), -0.25))
