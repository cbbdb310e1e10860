"""Data order as a pure function of (seed, position): an endless sequence of epochs, each with its own permutation; or balanced by class.

Global position p belongs to epoch p // length and is place p % length of that epoch's permutation, which is the order of random
keys and depends on (seed, "order", epoch) alone. A run therefore resumes at any image count without replaying the sequence, as with
``InfiniteSampler`` in EDM2, which starts at an image index.
"""

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from gconv_gan.runtime.random import Stream


def indices(seed: int, start: int, count: int, length: int) -> Int64[Tensor, " b"]:
    """Return the image indices [count] at the global positions start … start + count - 1 of a set of ``length`` images."""
    return InfiniteSampler(seed=seed, length=length).indices(start, count)


class InfiniteSampler:
    """``indices`` for many calls: stores the permutation of the last epoch.

    Args:
        seed: of the permutations.
        length: images in the set.
        stream: name of the stream that the permutations come from.
        row: row of the stream, if several sets share it.

    Raises:
        ValueError: if the set is empty.

    """

    def __init__(self, *, seed: int, length: int, stream: str = "order", row: int = 0) -> None:
        if length < 1:
            raise ValueError("an empty data set has no order")
        self.length = length
        self._stream, self._row = Stream(seed, stream), row
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.int64)

    def indices(self, start: int, count: int) -> Int64[Tensor, " b"]:
        """Return the image indices [count] from global position ``start`` on; they may extend over several epochs."""
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
            self._order = self._stream.permutation(epoch, self.length, index=self._row)
            self._epoch = epoch
        return self._order


class BalancedSampler:
    """An endless sequence in which all classes are equally frequent, independent of their numbers of images.

    The sequence is divided into blocks of ``block`` positions. A block contains every class equally often; if the number of classes does
    not divide it, some classes occur once more, in rotation. If a block is a batch, every batch is balanced; if it is as long as an epoch,
    only the epoch is. Within a block the order is random. The images of a class are ordered as by an ``InfiniteSampler`` of their own:
    each once, then all of them again in another order.

    Args:
        seed: seed of the orders.
        labels: class of each image, 0 … number of classes - 1.
        block: positions in a block; None: the number of images, rounded up to a multiple of the number of classes.

    Raises:
        ValueError: a class has no image.

    """

    def __init__(self, *, seed: int, labels: Int64[np.ndarray, " n"], block: int | None = None) -> None:
        counts = np.bincount(labels)
        if len(counts) == 0 or counts.min() == 0:
            raise ValueError(f"class {int(np.argmin(counts)) if len(counts) else 0} has no image: the classes cannot be balanced")
        self.num_classes = len(counts)
        self.block = -(-len(labels) // len(counts)) * len(counts) if block is None else block
        self._members = [torch.from_numpy(np.flatnonzero(labels == label)) for label in range(len(counts))]
        self._samplers = [
            InfiniteSampler(seed=seed, length=count, stream="class_order", row=label) for label, count in enumerate(counts.tolist())
        ]
        self._place_in_cycle = Stream(seed, "class_cycle").permutation(0, len(counts))
        self._stream = Stream(seed, "classes")
        self._number = -1
        self._classes = self._turns = torch.empty(0, dtype=torch.int64)

    def indices(self, start: int, count: int) -> Int64[Tensor, " b"]:
        """Return the image indices [count] from global position ``start`` on."""
        found = torch.empty(count, dtype=torch.int64)
        position, end = start, start + count
        while position < end:
            number, place = divmod(position, self.block)
            taken = min(end - position, self.block - place)
            classes, turns = (values[place : place + taken] for values in self._order(number))
            piece = found[position - start : position - start + taken]
            for label in torch.unique(classes).tolist():
                chosen = classes == label
                # the occurrences of a class are consecutive positions of its own sampler
                piece[chosen] = self._members[label][self._samplers[label].indices(int(turns[chosen][0]), int(chosen.sum()))]
            position += taken
        return found

    def _order(self, number: int) -> tuple[Tensor, Tensor]:
        """Return, for each place of a block, its class and the number of earlier occurrences of that class in the sequence."""
        if number == self._number:
            return self._classes, self._turns
        rounds, rest = divmod(self.block, self.num_classes)
        # the rest goes to the classes in a fixed cycle: those at the places number·rest … number·rest + rest - 1 of it, modulo its length
        extra_before = (number * rest - self._place_in_cycle + self.num_classes - 1) // self.num_classes
        extra = ((self._place_in_cycle - number * rest) % self.num_classes) < rest
        row = torch.arange(self.num_classes).repeat_interleave(rounds + extra.long())
        self._classes = row[self._stream.permutation(number, self.block)]
        by_class = self._classes.argsort(stable=True)
        first = torch.cumsum(rounds + extra.long(), 0) - (rounds + extra.long())
        before = number * rounds + extra_before
        self._turns = torch.empty_like(row)
        self._turns[by_class] = torch.arange(self.block) - first[row] + before[row]
        self._number = number
        return self._classes, self._turns
