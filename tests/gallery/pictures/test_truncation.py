"""Truncation: of z to the truncated normal distribution, and of w towards its mean behind a mapping network."""

import dataclasses
import math
from pathlib import Path

import pytest
import torch

from gconv_gan.gallery.latents import UNCONDITIONAL, random_sheet
from gconv_gan.gallery.pictures.grid import read_tiles
from gconv_gan.gallery.pictures.truncation import draw_psi_truncation, draw_truncation, truncate
from gconv_gan.gallery.subject import Subject, generate
from gconv_gan.models.gan.mapping import MappedGenerator, MappingNetwork
from gconv_gan.models.gan.resnet import ResNetGenerator

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


def mapped(subject: Subject) -> Subject:
    """The subject's run with a generator behind a mapping network whose mean w is not zero."""
    torch.manual_seed(0)
    mapping = MappingNetwork(latent_dim=6, width=8, depth=2, num_classes=None)
    generator = MappedGenerator(mapping, ResNetGenerator(image_size=8, width=4, latent_dim=8), latent_dim=6)
    generator.w_mean.copy_(torch.randn(8))
    return dataclasses.replace(subject, generator=generator.eval())


def test_a_mapping_network_sweeps_psi_in_w(subject: Subject, tmp_path: Path) -> None:
    run = mapped(subject)
    generator = run.generator
    assert isinstance(generator, MappedGenerator)
    assert draw_truncation(run, seed=3, levels=(0.5,), columns=4) == []
    (drawing,) = draw_psi_truncation(run, seed=3, psis=(0.0, 0.5), columns=4)
    assert (drawing.title, drawing.row_labels) == ("Truncated w", ("ψ 0", "ψ 0.5", "none"))
    (tmp_path / drawing.file).write_bytes(drawing.content)
    rows = read_tiles(tmp_path / drawing.file, side=8).view(3, 4, 3, 8, 8)
    z = random_sheet(3, UNCONDITIONAL, rows=1, columns=4, latent_dim=6, num_classes=None).z
    with torch.no_grad():
        w = generator.mapping(z)
    for row, psi in zip(rows, (0.0, 0.5, 1.0), strict=True):
        expected = generate(generator.synthesis, generator.w_mean + psi * (w - generator.w_mean), None)
        assert (row.int() - expected.int()).abs().max() <= 1
    assert not torch.equal(rows[1], rows[2])
    assert generator.psi == 1.0  # the run's generator stays as it is


def test_without_a_mapping_network_z_is_truncated(subject: Subject) -> None:
    assert draw_psi_truncation(subject, seed=3, psis=(0.5,), columns=4) == []
    (drawing,) = draw_truncation(subject, seed=3, levels=(0.5,), columns=4)
    assert (drawing.title, drawing.row_labels) == ("Truncated z", ("0.5", "none"))
