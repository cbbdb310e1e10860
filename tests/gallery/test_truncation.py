import math

import pytest
import torch

from gconv_gan.gallery.truncation import truncate

Z = torch.randn(20000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("threshold", [0.25, 1.0, 2.0])
def test_truncated_latents_have_the_truncated_normal_distribution(threshold: float) -> None:
    z = truncate(Z, threshold).flatten()
    assert z.abs().max() <= threshold
    normal = torch.distributions.Normal(torch.tensor(0.0, dtype=torch.float64), 1.0)
    low, high = normal.cdf(torch.tensor(-threshold, dtype=torch.float64)), normal.cdf(torch.tensor(threshold, dtype=torch.float64))
    uniform = ((normal.cdf(z) - low) / (high - low)).sort().values
    gap = (uniform - torch.arange(1, len(z) + 1) / len(z)).abs().max()
    assert float(gap) < 1.63 / math.sqrt(len(z))  # Kolmogorov's bound at 1 %


def test_truncation_keeps_order_and_sign_and_tends_to_nothing() -> None:
    z = torch.tensor([[-3.0, -0.5, 0.0, 0.5, 3.0]])
    short = truncate(z, 0.5)
    assert torch.equal(short, short.sort().values)
    assert torch.equal(short, -short.flip(1))
    torch.testing.assert_close(truncate(z, 6.0), z, rtol=1e-5, atol=1e-6)
    assert torch.equal(truncate(z, math.inf), z)


def test_a_threshold_must_be_positive() -> None:
    with pytest.raises(ValueError, match="must be positive, not 0.0"):
        truncate(Z, 0.0)
