"""Sample grids during training: the fixed latents that all runs share."""

from pathlib import Path

import numpy as np
import torch

from gconv_gan.data.reading.transforms import quantise
from gconv_gan.gallery.latents import fixed_latents
from gconv_gan.gallery.pictures.grid import read_tiles
from gconv_gan.runtime.run_folder import RunFolder
from gconv_gan.training.samples import SampleGrids
from tests.data.made import in_memory
from tests.reference.tiny_generator import TinyGenerator


def test_the_grid_shows_the_shared_bank_and_a_row_per_class(tmp_path: Path) -> None:
    reals = in_memory(np.zeros((100, 3, 16, 16), np.uint8), None, ())
    for classes in (None, 4):
        generator = TinyGenerator(num_classes=classes)
        folder = RunFolder(tmp_path / str(classes))
        folder.samples.mkdir(parents=True)
        SampleGrids(folder, reals, latent_dim=6, num_classes=classes).save(generator, 64)
        rows = classes or 10
        y = None if classes is None else torch.arange(rows).repeat_interleave(10)
        with torch.no_grad():
            expected = quantise(generator.eval()(fixed_latents(0, "samples", count=10 * rows, latent_dim=6), y))
        assert torch.equal(read_tiles(folder.samples / "64.png", side=16), expected)
