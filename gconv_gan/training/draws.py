"""Latents and labels of a step: drawn for the global batch, sliced for this process."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gconv_gan.runtime.seeding import draw_labels, draw_latents


@dataclass(frozen=True)
class Draws:
    """The fakes' inputs as functions of (seed, player, step, index in the global batch)."""

    seed: int
    batch_size: int
    latent_dim: int
    num_classes: int | None
    process_index: int
    num_processes: int
    device: torch.device

    def __call__(self, player: Literal["d", "g"], step: int) -> tuple[Tensor, Tensor | None]:
        """Return z [b, latent_dim] and y [b] (None without classes) of this process's share of the step's batch."""
        z = draw_latents(self.seed, f"latents_{player}", step, count=self.batch_size, latent_dim=self.latent_dim)
        if self.num_classes is None:
            return self._mine(z), None
        y = draw_labels(self.seed, f"labels_{player}", step, count=self.batch_size, num_classes=self.num_classes)
        return self._mine(z), self._mine(y)

    def _mine(self, draw: Tensor) -> Tensor:
        return draw.chunk(self.num_processes)[self.process_index].to(self.device)
