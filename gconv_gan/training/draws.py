"""Latents, labels and other numbers of a step: drawn for the global batch, sliced for this process."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gconv_gan.runtime.seeding import draw_labels, draw_latents, draw_uniform
from gconv_gan.runtime.sharing import share


@dataclass(frozen=True)
class Draws:
    """A step's random numbers as functions of (seed, stream, step, index in the global batch)."""

    seed: int
    batch_size: int
    latent_dim: int
    num_classes: int | None
    process_index: int
    num_processes: int
    device: torch.device
    micro_batches: int = 1

    def __call__(self, player: Literal["d", "g"], step: int) -> tuple[Tensor, Tensor | None]:
        """Return z [b, latent_dim] and y [b] (None without classes) of this process's share of the step's batch."""
        z = draw_latents(self.seed, f"latents_{player}", step, count=self.batch_size, latent_dim=self.latent_dim)
        if self.num_classes is None:
            return self._mine(z).to(self.device), None
        y = draw_labels(self.seed, f"labels_{player}", step, count=self.batch_size, num_classes=self.num_classes)
        return self._mine(z).to(self.device), self._mine(y).to(self.device)

    def uniform(self, stream: str, step: int, per_image: int) -> Tensor | None:
        """Return numbers uniform in [0, 1), [b, per_image], on the CPU, of this process's share; None where an image needs none."""
        if per_image == 0:
            return None
        return self._mine(draw_uniform(self.seed, stream, step, count=self.batch_size, per_image=per_image))

    def _mine(self, draw: Tensor) -> Tensor:
        who = {"process_index": self.process_index, "num_processes": self.num_processes}
        return draw[share(self.batch_size, **who, micro_batches=self.micro_batches)]
