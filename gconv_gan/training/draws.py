"""The random numbers of a step, of this process's images, on the device."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gconv_gan.runtime.random import Step, Stream, integers, normal, uniform
from gconv_gan.runtime.sharing import share

BLOCK = 32
"""Steps that are drawn at once on a CUDA device."""
MAX_WORDS = 2**23
"""Words of a block of steps: as int64 numbers, 64 MiB."""


class Drawn(NamedTuple):
    """Latents, labels (None without classes), and uniform numbers [b, n] for each n that was asked for (None for n = 0)."""

    z: Float[Tensor, "*steps b d"]
    labels: Int[Tensor, "*steps b"] | None
    uniform: list[Float[Tensor, "*steps b n"] | None]


class Draws:
    """A step's random numbers as functions of (seed, player, step, index in the global batch).

    All numbers of a step come from one row of words for each image, latents first, then the label, then the uniform numbers in the order
    in which they are asked for: one call of the generator, whose operations cost more than the numbers. For the same reason the numbers
    of several steps are drawn at once where the device waits for the host to launch operations; their values are the same.

    Args:
        seed: the run's.
        batch_size: global batch, over all processes and micro-batches.
        latent_dim: dimension of z.
        num_classes: number of classes; None: no labels.
        process_index: which share of the global batch is ours.
        num_processes: how many processes share the batch.
        device: where the numbers are wanted.
        micro_batches: into how many parts each process splits its share.
        block: how many steps are drawn at once; None: ``BLOCK`` on a CUDA device, else 1.

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
        """Return what the step of ``player`` draws, with as many uniform numbers an image as each of ``uniform_numbers`` says.

        Steps [k, 1], as a tensor, draw what k steps do, under a first axis of length k.
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
        """Return the words of latents, label and each kind of uniform numbers of an image."""
        return [self.latent_dim + self.latent_dim % 2, 0 if self.num_classes is None else 2, *uniform_numbers]
