"""Standing statistics: averages over the generator's own batches, with the latents of the scored images."""

import pytest
import torch
from torch import Tensor, nn

from gconv_gan.layers.norms.batch_norm import BatchNorm2d
from gconv_gan.metrics.images.standing import set_standing_statistics
from gconv_gan.sampling.latents import draw_latents


class Normalised(nn.Module):
    """A generator whose BatchNorm sees z itself, beside a layer that must stay in evaluation mode."""

    latent_dim, num_classes = 12, None

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.dropout = BatchNorm2d(3, momentum=0.25), nn.Dropout(0.9)

    def forward(self, z: Tensor, y: Tensor | None) -> Tensor:
        return self.dropout(self.norm(z.view(-1, 3, 2, 2)))


@pytest.mark.parametrize("threshold", [None, 0.5])
def test_they_are_plain_averages_over_the_batches(threshold: float | None) -> None:
    generator = Normalised()
    generator.norm.running_mean.fill_(7.0)
    set_standing_statistics(generator, seed=3, batches=5, batch_size=8, threshold=threshold)
    draws = draw_latents(3, "standing", torch.arange(40), latent_dim=12, threshold=threshold).view(5, 8, 3, 4)
    torch.testing.assert_close(generator.norm.running_mean, torch.stack([z.mean((0, 2)) for z in draws]).mean(0))
    expected = torch.stack([z.transpose(0, 1).flatten(1).var(1) for z in draws]).mean(0)
    torch.testing.assert_close(generator.norm.running_var, expected)
    assert generator.norm.momentum == 0.25
    assert generator.training
    assert generator.norm.training
    assert expected.mean() < 0.15 or threshold is None
