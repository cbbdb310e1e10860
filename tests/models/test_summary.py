"""The summary counts every parameter once, whatever normalises the weights, and its last line is what scripts read."""

import re

import pytest
import torch

from gconv_gan.config.units import ConvNormConfig, DiscriminatorNormConfig, NoNormConfig, SpectralNormConfig
from gconv_gan.layers.factory import normalise_discriminator
from gconv_gan.layers.non_local import NonLocal2d
from gconv_gan.models.gan_resnet import ResNetDiscriminator, ResNetGenerator
from gconv_gan.models.summary import summarise, table


@pytest.mark.parametrize("norm", [NoNormConfig(), SpectralNormConfig(), ConvNormConfig()], ids=lambda norm: norm.kind)
def test_every_parameter_of_a_discriminator_is_counted_once(norm: DiscriminatorNormConfig) -> None:
    plain, network = (ResNetDiscriminator(image_size=16, width=8, num_classes=3) for _ in range(2))
    normalise_discriminator(network, norm)
    inputs = torch.zeros(1, 3, 16, 16), torch.zeros(1, dtype=torch.long)
    rows = summarise(network, *inputs)
    assert sum(row.parameters for row in rows) == sum(p.numel() for p in network.parameters())
    assert sum(row.macs for row in rows) == sum(row.macs for row in summarise(plain, *inputs))
    assert len({row.name for row in rows}) == len(rows)


def test_the_last_line_holds_plain_integers() -> None:
    network = ResNetGenerator(image_size=8, width=8, latent_dim=4)
    last = table(summarise(network, torch.zeros(1, 4), None)).splitlines()[-1]
    found = re.fullmatch(r"total: (\d+) params, (\d+) MACs", last)
    assert found is not None
    assert int(found[1]) == sum(p.numel() for p in network.parameters())


def test_the_products_of_attention_are_counted() -> None:
    rows = summarise(NonLocal2d.sagan(64), torch.zeros(1, 64, 16, 16))
    maps = 256 * (2 * 64 * 8 + 2 * 64 * 32)
    assert sum(row.macs for row in rows) == maps + 256 * 64 * (8 + 32)
    assert sum(row.parameters for row in rows) == 2 * 64 * 8 + 2 * 64 * 32 + 1
    rows = summarise(NonLocal2d(64), torch.zeros(1, 64, 16, 16))
    assert sum(row.macs for row in rows) == 4 * 256 * 64 * 32 + 2 * 256 * 32 * 32
