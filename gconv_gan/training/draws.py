"""The random numbers of a step for this process's images, drawn on the device."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gconv_gan.runtime.random import Step, Stream, integers, normal, uniform
from gconv_gan.runtime.sharing import share

BLOCK = 32
"""Number of steps whose numbers are drawn in one call on a CUDA device."""
MAX_WORDS = 2**23
"""Largest number of words drawn in one call: 64 MiB as int64."""


class Drawn(NamedTuple):
    """Latents, labels (None without classes), and uniform numbers [b, n] for each requested n (None for n = 0)."""

    z: Float[Tensor, "*steps b d"]
    labels: Int[Tensor, "*steps b"] | None
    uniform: list[Float[Tensor, "*steps b n"] | None]


class Draws:
    """A step's random numbers as functions of (seed, player, step, index in the global batch).

    All numbers of a step come from one row of words per image: latents, then the label, then the uniform numbers in the order of the
    arguments. So a step makes one call of the random generator, whose launched operations take more time than the numbers. On a CUDA
    device one call draws several steps for the same reason; the values do not depend on it.

    Args:
        seed: seed of the run.
        batch_size: global batch, over all processes and micro-batches.
        latent_dim: dimension of z.
        num_classes: number of classes; None: no labels.
        process_index: index of this process, which selects its share of the global batch.
        num_processes: number of processes.
        device: device of the numbers.
        micro_batches: number of parts of each process's share.
        block: number of steps drawn in one call; None: ``BLOCK`` on a CUDA device, else 1.

    """

    def __init__(
        self,
        seed: int,
        batch_size: int,
        latent_dim: int,
        num_classes: int | None,
        process_index: int,
        num_processes: int,
        device: torch.device,
        micro_batches: int = 1,
        block: int | None = None,
    ) -> None:
        self.latent_dim, self.num_classes = latent_dim, num_classes
        self._streams = {player: Stream(seed, f"steps_{player}") for player in ("d", "g")}
        who = {"process_index": process_index, "num_processes": num_processes}
        self._indices = share(batch_size, **who, micro_batches=micro_batches).to(device)
        self._block = block or (BLOCK if device.type == "cuda" else 1)
        self._blocks: dict[tuple[str, tuple[int, ...]], tuple[int, Drawn]] = {}

    def __call__(self, player: Literal["d", "g"], step: Step, uniform_numbers: Sequence[int] = ()) -> Drawn:
        """Return the numbers of a step of ``player``, with n uniform numbers per image for each n of ``uniform_numbers``.

        A tensor of steps [k, 1] gives the numbers of k steps, with a first axis of length k.
        """
        sizes = self._sizes(uniform_numbers)
        if isinstance(step, int) and (block := min(self._block, MAX_WORDS // (sum(sizes) * len(self._indices)))) > 1:
            number, place = divmod(step, block)
            asked = player, tuple(uniform_numbers)
            if asked not in self._blocks or self._blocks[asked][0] != number:
                steps = torch.arange(number * block, (number + 1) * block, device=self._indices.device)[:, None]
                self._blocks[asked] = number, self(player, steps, uniform_numbers)
            _, (z, labels, uniforms) = self._blocks[asked]
            row = [None if numbers is None else numbers[place] for numbers in uniforms]
            return Drawn(z[place], None if labels is None else labels[place], row)
        words = self._streams[player].words(step, self._indices, sum(sizes))
        parts = torch.split(words, sizes, dim=-1)
        labels = None if self.num_classes is None else integers(parts[1], self.num_classes)[..., 0]
        return Drawn(normal(parts[0])[..., : self.latent_dim], labels, [uniform(part) if part.shape[-1] else None for part in parts[2:]])

    def _sizes(self, uniform_numbers: Sequence[int]) -> list[int]:
        """Return the number of words per image of the latents, the label and each kind of uniform numbers."""
        return [self.latent_dim + self.latent_dim % 2, 0 if self.num_classes is None else 2, *uniform_numbers]
