"""Truncation: of z to the truncated normal distribution, and of w towards its mean behind a mapping network."""

import dataclasses
from pathlib import Path

import torch

from gconv_gan.gallery.latents import numbered_sheet
from gconv_gan.gallery.pictures.grid import read_tiles
from gconv_gan.gallery.pictures.truncation import draw_psi_truncation, draw_truncation
from gconv_gan.gallery.trained_generator import TrainedGenerator, generate
from gconv_gan.models.gan.mapping import MappedGenerator, MappingNetwork
from gconv_gan.models.gan.resnet import ResNetGenerator


def mapped(trained: TrainedGenerator) -> TrainedGenerator:
    """The trained's run with a generator behind a mapping network whose mean w is not zero."""
    torch.manual_seed(0)
    mapping = MappingNetwork(latent_dim=6, width=8, depth=2, num_classes=None)
    generator = MappedGenerator(mapping, ResNetGenerator(image_size=8, width=4, latent_dim=8), latent_dim=6)
    generator.w_mean.copy_(torch.randn(8))
    return dataclasses.replace(trained, generator=generator.eval())


def test_a_mapping_network_sweeps_psi_in_w(trained: TrainedGenerator, tmp_path: Path) -> None:
    run = mapped(trained)
    generator = run.generator
    assert isinstance(generator, MappedGenerator)
    assert draw_truncation(run, seed=3, levels=(0.5,), columns=4) == []
    (drawing,) = draw_psi_truncation(run, seed=3, psis=(0.0, 0.5), columns=4)
    assert (drawing.title, drawing.row_labels) == ("Truncated w", ("ψ 0", "ψ 0.5", "none"))
    (tmp_path / drawing.file).write_bytes(drawing.content)
    rows = read_tiles(tmp_path / drawing.file, side=8).view(3, 4, 3, 8, 8)
    z = numbered_sheet(3, count=4, latent_dim=6, num_classes=None).z
    with torch.no_grad():
        w = generator.mapping(z)
    for row, psi in zip(rows, (0.0, 0.5, 1.0), strict=True):
        expected = generate(generator.synthesis, generator.w_mean + psi * (w - generator.w_mean), None)
        assert (row.int() - expected.int()).abs().max() <= 1
    assert not torch.equal(rows[1], rows[2])
    assert generator.psi == 1.0  # the run's generator stays as it is


def test_without_a_mapping_network_z_is_truncated(trained: TrainedGenerator, tmp_path: Path) -> None:
    assert draw_psi_truncation(trained, seed=3, psis=(0.5,), columns=4) == []
    (drawing,) = draw_truncation(trained, seed=3, levels=(0.5,), columns=4)
    assert (drawing.title, drawing.row_labels) == ("Truncated z", ("0.5", "none"))
    (tmp_path / drawing.file).write_bytes(drawing.content)
    truncated, whole = read_tiles(tmp_path / drawing.file, side=8).chunk(2)
    for rows, threshold in ((whole, None), (truncated, 0.5)):
        assert (rows.int() - trained.generate(trained.numbered(3, 4, threshold=threshold)).int()).abs().max() <= 1
    assert not torch.equal(truncated, whole)
