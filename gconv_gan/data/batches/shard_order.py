"""Data order for shards that are read over a network: images are permuted within groups of few shards.

A random permutation of all images reads another file for every image. WebDataset uses shuffled shards and a shuffle buffer, whose state
is lost with the process. Here the order is a pure function of (seed, epoch): the shards are permuted, consecutive ``window`` shards form
a group, and the images of a group are permuted. Image p of the epoch is found without replaying the sequence, on any number of processes,
and only ``window`` shards are read at once. Every image occurs once in an epoch. In contrast to a permutation of all images, images of
different groups are never interleaved; similar images should therefore be written to different shards, as the usual tools do, which
shuffle before they pack.
"""

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from gconv_gan.data.batches.sampler import InfiniteSampler
from gconv_gan.data.image_dataset import ImageDataset
from gconv_gan.runtime.random import Stream


class ShardedSampler:
    """``InfiniteSampler`` within groups of shards.

    Args:
        seed: of the order.
        lengths: images in each shard; the images of the set are numbered shard by shard.
        window: shards in a group.

    Raises:
        ValueError: the set is empty, or the window.

    """

    def __init__(self, *, seed: int, lengths: Int64[np.ndarray, " shards"], window: int) -> None:
        if lengths.sum() < 1:
            raise ValueError("an empty data set has no order")
        if window < 1:
            raise ValueError(f"a group has at least one shard, not {window}")
        self.seed, self.lengths, self.window = seed, lengths, window
        self.length = int(lengths.sum())
        self._starts = np.cumsum(lengths) - lengths
        self._epoch = -1
        self._shards = np.empty(0, dtype=np.int64)
        self._ends = np.empty(0, dtype=np.int64)
        self._group: tuple[int, int] = (-1, -1)
        self._order = torch.empty(0, dtype=torch.int64)

    def indices(self, start: int, count: int) -> Int64[Tensor, " b"]:
        """Return the image indices [count] from global position ``start`` on; they may extend over several groups and epochs."""
        pieces = []
        position, end = start, start + count
        while position < end:
            epoch, place = divmod(position, self.length)
            self._turn_to(epoch)
            group = int(np.searchsorted(self._ends, place, side="right"))
            order = self._permutation(epoch, group)
            inside = place - (int(self._ends[group]) - len(order))
            piece = order[inside : inside + end - position]
            pieces.append(piece)
            position += len(piece)
        return torch.cat(pieces) if pieces else torch.empty(0, dtype=torch.int64)

    def _turn_to(self, epoch: int) -> None:
        """Permute the shards for ``epoch`` and compute the ends of its groups."""
        if epoch == self._epoch:
            return
        self._epoch = epoch
        self._shards = Stream(self.seed, "shards").permutation(epoch, len(self.lengths)).numpy()
        firsts = np.arange(0, len(self._shards), self.window)
        self._ends = np.cumsum(np.add.reduceat(self.lengths[self._shards], firsts))

    def _permutation(self, epoch: int, group: int) -> Int64[Tensor, " n"]:
        if self._group != (epoch, group):
            shards = self._shards[group * self.window : (group + 1) * self.window]
            members = np.concatenate([np.arange(self._starts[s], self._starts[s] + self.lengths[s]) for s in shards])
            shuffle = Stream(self.seed, "order").permutation(epoch, len(members), index=group)
            self._order = torch.from_numpy(members)[shuffle]
            self._group = (epoch, group)
        return self._order


def order_of(dataset: ImageDataset, *, seed: int, indices: Int64[np.ndarray, " m"] | None = None) -> InfiniteSampler | ShardedSampler:
    """Return the order of ``dataset``, or of the part of it with these increasing ``indices``: places in that part."""
    if dataset.window == 0:
        return InfiniteSampler(seed=seed, length=len(dataset) if indices is None else len(indices))
    lengths = np.array(dataset.manifest.shards, dtype=np.int64)
    if indices is not None:
        lengths = np.diff(np.searchsorted(indices, np.concatenate([[0], np.cumsum(lengths)])))
    return ShardedSampler(seed=seed, lengths=lengths, window=dataset.window)
