"""Constants and gradients of the adversarial losses."""

import math

import pytest
import torch

from gconv_gan.losses.adversarial import AdversarialLoss
from gconv_gan.losses.tables import LOSSES

NAMES = tuple(LOSSES)
CONSTANTS = {
    "hinge": (2.0, -1.0),
    "non_saturating": (1.6265233, 0.3132617),
    "wasserstein": (0.0, -1.0),
    "least_squares": (0.5, 0.0),
    "relativistic_pairing": (math.log(2), math.log(2)),
}


def made(name: str) -> AdversarialLoss:
    loss: AdversarialLoss = LOSSES[name]()
    return loss


def test_every_loss_has_its_constants() -> None:
    assert set(NAMES) == set(CONSTANTS)


@pytest.mark.parametrize("name", NAMES)
def test_constants_at_logits_of_one(name: str) -> None:
    ones = torch.ones(8, dtype=torch.float64)
    discriminator, generator = CONSTANTS[name]
    assert made(name).discriminator(ones, ones).tolist() == pytest.approx([discriminator] * 8, abs=1e-6)
    assert made(name).generator(ones, ones).tolist() == pytest.approx([generator] * 8, abs=1e-6)


def test_values_away_from_the_constants() -> None:
    real, fake = torch.tensor([3.0, 0.5]), torch.tensor([-2.0, 0.25])
    assert made("hinge").discriminator(real, fake).tolist() == pytest.approx([0.0, 1.75])
    assert made("wasserstein").discriminator(real, fake).tolist() == pytest.approx([-5.0, -0.25])
    assert made("least_squares").discriminator(real, fake).tolist() == pytest.approx([4.0, 0.15625])
    assert made("least_squares").generator(fake).tolist() == pytest.approx([4.5, 0.28125])
    pairs = [math.log1p(math.exp(-5)), math.log1p(math.exp(-0.25))]
    assert made("relativistic_pairing").discriminator(real, fake).tolist() == pytest.approx(pairs)
    assert made("relativistic_pairing").generator(fake, real).tolist() == pytest.approx([pairs[0] + 5, pairs[1] + 0.25])


@pytest.mark.parametrize("name", NAMES)
def test_gradients_of_both_players_have_opposite_signs(name: str) -> None:
    loss = made(name)
    real, fake = torch.full((4,), 0.4, requires_grad=True), torch.full((4,), 0.6, requires_grad=True)
    loss.discriminator(real, fake).mean().backward()
    assert (real.grad < 0).all()
    assert (fake.grad > 0).all()
    fooling = torch.zeros(4, requires_grad=True)
    loss.generator(fooling, real.detach()).mean().backward()
    assert (fooling.grad < 0).all()


@pytest.mark.parametrize("name", ["wasserstein", "relativistic_pairing"])
def test_losses_of_differences_have_no_boundary_and_ignore_a_shift_of_all_logits(name: str) -> None:
    loss, real, fake = made(name), torch.tensor([1.0, -0.5]), torch.tensor([0.3, 2.0])
    assert loss.boundary is None
    torch.testing.assert_close(loss.discriminator(real + 7, fake + 7), loss.discriminator(real, fake))


def test_non_saturating_keeps_a_gradient_at_very_negative_logits() -> None:
    fake = torch.full((4,), -50.0, requires_grad=True)
    made("non_saturating").generator(fake).mean().backward()
    torch.testing.assert_close(fake.grad, torch.full((4,), -0.25))


def test_the_relativistic_generator_needs_real_images() -> None:
    with pytest.raises(ValueError, match="compares each generated image with a real one"):
        made("relativistic_pairing").generator(torch.zeros(2))
