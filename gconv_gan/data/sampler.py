"""Data order as a pure function of (seed, position): an endless row of epochs, each its own permutation.

Global position p belongs to epoch p // length and is place p % length of that epoch's permutation, which depends on
(seed, "order", epoch) alone. So a run resumes at any image count without replaying anything. The idea of starting a sampler at an
image index is that of ``InfiniteSampler`` in EDM2.
"""

import torch
from jaxtyping import Int64
from torch import Tensor

from gconv_gan.runtime.seeding import generator_for


def indices(seed: int, start: int, count: int, length: int) -> Int64[Tensor, " b"]:
    """Return the image indices [count] at the global positions start … start + count - 1 of a set of ``length`` images."""
    return InfiniteSampler(seed=seed, length=length).indices(start, count)


class InfiniteSampler:
    """``indices`` for many calls: keeps the permutation of the epoch last asked for.

    Raises:
        ValueError: if the set is empty.

    """

    def __init__(self, *, seed: int, length: int) -> None:
        if length < 1:
            raise ValueError("an empty data set has no order")
        self.seed = seed
        self.length = length
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.int64)

    def indices(self, start: int, count: int) -> Int64[Tensor, " b"]:
        """Return the image indices [count] from global position ``start`` on; they may straddle epochs."""
        pieces = []
        position, end = start, start + count
        while position < end:
            epoch, place = divmod(position, self.length)
            taken = min(end - position, self.length - place)
            pieces.append(self._permutation(epoch)[place : place + taken])
            position += taken
        return torch.cat(pieces) if pieces else torch.empty(0, dtype=torch.int64)

    def _permutation(self, epoch: int) -> Int64[Tensor, " n"]:
        if epoch != self._epoch:
            self._order = torch.randperm(self.length, generator=generator_for(self.seed, "order", epoch))
            self._epoch = epoch
        return self._order
