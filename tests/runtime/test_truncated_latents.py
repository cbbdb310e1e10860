"""Truncated latents: within the threshold, distributed as a truncated normal, and unchanged where they need not change."""

import math

import pytest
import torch

from gconv_gan.runtime.seeding import draw_latents


def test_what_lies_within_the_threshold_stays_and_the_rest_is_drawn_anew() -> None:
    whole = draw_latents(3, "eval", 5, count=64, latent_dim=20)
    truncated = draw_latents(3, "eval", 5, count=64, latent_dim=20, threshold=0.8)
    assert truncated.abs().max() <= 0.8
    inside = whole.abs() <= 0.8
    assert 0.5 < inside.float().mean() < 0.65
    assert torch.equal(truncated[inside], whole[inside])
    assert torch.equal(truncated, draw_latents(3, "eval", 5, count=64, latent_dim=20, threshold=0.8))
    assert torch.equal(draw_latents(3, "eval", 5, count=64, latent_dim=20, threshold=9.0), whole)


@pytest.mark.parametrize("threshold", [0.1, 1.0, 2.0])
def test_the_distribution_is_the_truncated_normal(threshold: float) -> None:
    z = draw_latents(0, "eval", 0, count=1000, latent_dim=100, threshold=threshold).double().flatten()
    density = math.exp(-(threshold**2) / 2) / math.sqrt(2 * math.pi)
    variance = 1 - 2 * threshold * density / math.erf(threshold / math.sqrt(2))
    assert z.mean().item() == pytest.approx(0, abs=4 * math.sqrt(variance / len(z)))
    assert z.var().item() == pytest.approx(variance, rel=0.02)


def test_a_threshold_must_be_positive() -> None:
    with pytest.raises(ValueError, match="must be positive, not 0"):
        draw_latents(0, "eval", 0, count=1, latent_dim=1, threshold=0.0)
