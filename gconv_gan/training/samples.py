"""Pictures during training: real images, and images of the averaged generator from fixed latents.

The latents depend on their dimension alone, not on the seed of the run, so that pictures of different runs can be compared.
"""

from pathlib import Path
from statistics import fmean

import torch
from torch import nn

from gconv_gan.data.batches.loaders import fixed_batch
from gconv_gan.data.image_dataset import ImageDataset
from gconv_gan.gallery.latents import fixed_latents
from gconv_gan.gallery.pictures.gates import gate_of, gate_statistics, record_gates
from gconv_gan.gallery.pictures.grid import save_grid
from gconv_gan.layers.dynamic.kernel_gates import KernelGate
from gconv_gan.runtime.run_folder import RunFolder
from gconv_gan.sampling.generator import Sampler

COLUMNS = 10
ROWS = 10
BANK = 0  # seed of the latents


class SampleGrids:
    """``samples/reals.png`` and ``samples/<images>.png``: ten by ten, one row per class (of the first ten) if conditional."""

    def __init__(self, folder: RunFolder, dataset: ImageDataset, *, latent_dim: int, num_classes: int | None) -> None:
        self._folder, self._dataset = folder, dataset
        rows = ROWS if num_classes is None else min(ROWS, num_classes)
        self._z = fixed_latents(BANK, "samples", count=rows * COLUMNS, latent_dim=latent_dim)
        self._y = None if num_classes is None else torch.arange(rows).repeat_interleave(COLUMNS)

    def save_reals(self) -> None:
        """Write a grid of real images in the layout of the generated ones."""
        rows = None if self._y is None else len(self._z) // COLUMNS
        images = fixed_batch(self._dataset, count=len(self._z), rows=rows)
        save_grid(images, self._folder.samples / "reals.png", columns=COLUMNS)

    def save(self, generator: nn.Module, images_seen: int) -> Path:
        """Write the grid of ``generator`` at ``images_seen``, and return its file."""
        images = Sampler(generator)(self._z, self._y).cpu()
        file = self._folder.samples / f"{images_seen}.png"
        save_grid(images, file, columns=COLUMNS)
        return file

    def gate_numbers(self, generator: nn.Module) -> dict[str, float]:
        """Return entropy, information share and variance of the kernel gates over the fixed latents, means of layers; empty without gates.

        The information share is balance minus entropy; constant gates do not count in it and in the variance.
        """
        if not any(isinstance(module, KernelGate) for module in generator.modules()):
            return {}
        device = next(generator.parameters()).device
        gates = record_gates(generator, self._z.to(device), None if self._y is None else self._y.to(device))
        found = {layer: gate_statistics(values) for layer, values in gates.items()}
        numbers = {"gate_entropy": fmean(one.entropy for one in found.values())}
        selecting = [one for layer, one in found.items() if not gate_of(generator, layer).constant]
        if selecting:
            numbers["gate_information"] = fmean(one.balance - one.entropy for one in selecting)
            numbers["gate_variance"] = fmean(one.variance for one in selecting)
        return numbers
