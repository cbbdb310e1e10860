"""The random numbers of a step, of this process's images, on the device."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gconv_gan.runtime.random import Step, Stream, integers, normal, uniform
from gconv_gan.runtime.sharing import share


class Drawn(NamedTuple):
    """Latents, labels (None without classes), and uniform numbers [b, n] for each n that was asked for (None for n = 0)."""

    z: Float[Tensor, "*steps b d"]
    labels: Int[Tensor, "*steps b"] | None
    uniform: list[Float[Tensor, "*steps b n"] | None]


class Draws:
    """A step's random numbers as functions of (seed, player, step, index in the global batch).

    All numbers of a step come from one row of words for each image, latents first, then the label, then the uniform numbers in the order
    in which they are asked for: one call of the generator, whose operations cost more than the numbers.

    Args:
        seed: the run's.
        batch_size: global batch, over all processes and micro-batches.
        latent_dim: dimension of z.
        num_classes: number of classes; None: no labels.
        process_index: which share of the global batch is ours.
        num_processes: how many processes share the batch.
        device: where the numbers are wanted.
        micro_batches: into how many parts each process splits its share.

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
    ) -> None:
        self.latent_dim, self.num_classes = latent_dim, num_classes
        self._streams = {player: Stream(seed, f"steps_{player}") for player in ("d", "g")}
        who = {"process_index": process_index, "num_processes": num_processes}
        self._indices = share(batch_size, **who, micro_batches=micro_batches).to(device)

    def __call__(self, player: Literal["d", "g"], step: Step, uniform_numbers: Sequence[int] = ()) -> Drawn:
        """Return what the step of ``player`` draws, with as many uniform numbers an image as each of ``uniform_numbers`` says.

        Steps [k, 1], as a tensor, draw what k steps do, under a first axis of length k.
        """
        even = self.latent_dim + self.latent_dim % 2
        label = 0 if self.num_classes is None else 2
        words = self._streams[player].words(step, self._indices, even + label + sum(uniform_numbers))
        parts = torch.split(words, [even, label, *uniform_numbers], dim=-1)
        labels = None if self.num_classes is None else integers(parts[1], self.num_classes)[..., 0]
        return Drawn(normal(parts[0])[..., : self.latent_dim], labels, [uniform(part) if part.shape[-1] else None for part in parts[2:]])
