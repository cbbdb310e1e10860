"""Batches of real images of one process: ordered, mirrored, scaled, on the device.

Order and coins are functions of the image count and the place in the global batch, so one process and two show the discriminator
the same images, and a restart repeats the uninterrupted run. The batch is gathered on the device where the set fits there, else from
the memory map in the order of the file; what stays in memory is the operating system's page cache, shared by all processes. No worker:
a CIFAR batch of 64 takes well under a millisecond. On a CUDA device several batches are gathered at once, since it waits for the host to
launch operations. Where a CUDA device has no room for the set, and where images are decoded at every access, the next batch is read while
this one is used.
"""

import copy
import math
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

from gconv_gan.config.errors import UserError
from gconv_gan.data.batches.sampler import BalancedSampler, InfiniteSampler
from gconv_gan.data.batches.shard_order import ShardedSampler, order_of
from gconv_gan.data.datasets import require_images_of_every_class
from gconv_gan.data.device_images import DeviceImages, Resident, gather
from gconv_gan.data.image_dataset import ImageDataset
from gconv_gan.data.reading.decoded_images import DecodedImages
from gconv_gan.data.reading.transforms import flip, to_unit
from gconv_gan.runtime.random import Stream
from gconv_gan.runtime.sharing import share

Balance = Literal["none", "per_class", "overall"]

BLOCK = 32
"""Batches that are gathered at once for a CUDA device."""
BLOCK_BYTES = 2**25
"""What they may take."""

Stored = tuple[UInt8[Tensor, "n b 3 s s"], Int64[Tensor, "n b"] | None]


class BatchSource:
    """Endless batches of real images, addressed by the number of images seen before them.

    Args:
        dataset: the converted data set.
        seed: seed of order and mirroring.
        flip: mirror each image with probability ½.
        batch_size: global batch, over all processes.
        balance: "none": every image once an epoch; every class equally often, "per_class": in each batch, "overall": in each epoch.
        process_index: index of this process.
        num_processes: how many processes share the batch.
        micro_batches: number of parts into which each process splits its share.
        device: device of the batch.
        resident: whether the whole set lies there, see ``DeviceImages``.
        indices: the images that are used, in increasing order; None: all.
        block: how many batches are gathered at once; None: ``BLOCK`` for a CUDA device, else 1.

    Raises:
        UserError: the batch cannot be shared evenly, or the set has no classes to balance.

    """

    def __init__(
        self,
        dataset: ImageDataset,
        *,
        seed: int,
        flip: bool,
        batch_size: int,
        balance: Balance = "none",
        process_index: int = 0,
        num_processes: int = 1,
        micro_batches: int = 1,
        device: torch.device | str = "cpu",
        resident: Resident = "auto",
        indices: Int64[np.ndarray, " m"] | None = None,
        block: int | None = None,
    ) -> None:
        if batch_size < 1 or batch_size % num_processes:
            raise UserError(f"the global batch_size {batch_size} cannot be shared evenly by {num_processes} processes")
        if not 0 <= process_index < num_processes:
            raise ValueError(f"process_index {process_index} is not among {num_processes} processes")
        self.dataset = dataset
        self.flip = flip
        self._coins = Stream(seed, "flip")
        self.batch_size = batch_size
        self.device = torch.device(device)
        self._share = share(batch_size, process_index=process_index, num_processes=num_processes, micro_batches=micro_batches)
        self._places = self._share.to(self.device)
        self._images = DeviceImages(dataset, self.device, resident=resident)
        self._labels = None if dataset.labels is None else torch.from_numpy(dataset.labels.copy())
        longest = BLOCK_BYTES // (len(self._share) * math.prod(dataset.images.shape[1:]))
        decoded = isinstance(dataset.images, DecodedImages)
        self._block = 1 if decoded else max(1, min(longest, block or (BLOCK if self.device.type == "cuda" else 1)))
        self._held: tuple[int, Stored] | None = None
        self._in_order = True
        self._indices = None if indices is None else torch.from_numpy(indices)
        if balance == "none":
            self._sampler: InfiniteSampler | ShardedSampler | BalancedSampler = order_of(dataset, seed=seed, indices=indices)
        else:
            self._sampler = _balanced(dataset, seed, balance, batch_size, indices)

    def whole(self) -> "BatchSource":
        """Return the source of the batches of all processes, which shares images and order with this one."""
        source = copy.copy(self)
        source._share, source._block, source._held, source._in_order = torch.arange(self.batch_size), 1, None, False
        source._places = source._share.to(self.device)
        return source

    def batch(self, images_seen: int) -> tuple[Float32[Tensor, "b 3 s s"], Int64[Tensor, " b"] | None]:
        """Return our share of the global batch at ``images_seen``: reals in [-1, 1] [b, 3, S, S] and labels [b], or None."""
        number, between = divmod(images_seen, self.batch_size)
        if between or self._block == 1:
            (images, labels), place = self._stored(images_seen, 1), 0
            self._expect(images_seen + self.batch_size, 1)
        else:
            first, place = number - number % self._block, number % self._block
            if self._held is None or self._held[0] != first:
                self._held = first, self._stored(first * self.batch_size, self._block)
                self._expect((first + self._block) * self.batch_size, self._block)
            images, labels = self._held[1]
        return to_unit(images[place]), None if labels is None else labels[place]

    def _stored(self, images_seen: int, count: int) -> Stored:
        """Return ``count`` batches from ``images_seen`` on as they are stored, mirrored where a coin says so."""
        chosen = self._chosen(images_seen, count)
        images = self._images(chosen)
        if self.flip:  # before scaling: a quarter of the bytes
            steps = images_seen + self.batch_size * torch.arange(count, device=self.device)[:, None]
            images = flip(images, self._coins.coins(steps, self._places).flatten())
        labels = None if self._labels is None else self._labels[chosen].to(self.device, non_blocking=True).view(count, -1)
        return images.view(count, -1, *images.shape[1:]), labels

    def _expect(self, images_seen: int, count: int) -> None:
        """Let the images be read that the next batches need, while this one is used; not for methods, which need any batch."""
        if self._in_order and self._images.expects:
            self._images.expect(self._chosen(images_seen, count))

    def _chosen(self, images_seen: int, count: int) -> Int64[Tensor, " b"]:
        starts = [images_seen + self.batch_size * batch for batch in range(count)]
        chosen = torch.cat([self._sampler.indices(start, self.batch_size)[self._share] for start in starts])
        return chosen if self._indices is None else self._indices[chosen]


def _balanced(
    dataset: ImageDataset, seed: int, balance: Balance, batch_size: int, indices: Int64[np.ndarray, " m"] | None
) -> BalancedSampler:
    if dataset.labels is None:
        raise UserError(f'{dataset.title} is unlabelled: trainer.balance = "{balance}" has no classes to balance; use "none"')
    require_images_of_every_class(dataset, needed_by=f'trainer.balance = "{balance}"')
    labels = dataset.labels if indices is None else dataset.labels[indices]
    return BalancedSampler(seed=seed, labels=labels, block=batch_size if balance == "per_class" else None)


def fixed_batch(dataset: ImageDataset, *, count: int, rows: int | None = None) -> UInt8[Tensor, "b 3 s s"]:
    """Return ``count`` stored images for a grid, uint8 [count, 3, S, S], always the same ones.

    Without ``rows`` they are evenly spaced in the set. With it they form that many rows of equal length, and row k holds the
    first images of class k, repeated if the class has too few.

    Raises:
        ValueError: ``rows`` does not divide ``count``, or there is no class, or no image, for a row.

    """
    if rows is None:
        return gather(dataset.images, torch.arange(count) * len(dataset) // count)
    if dataset.labels is None or not 0 < rows <= len(dataset.classes) or count % rows:
        raise ValueError(f"{count} images of {len(dataset.classes)} classes cannot be laid out in {rows} rows, one class a row")
    return gather(dataset.images, torch.cat([_members(dataset, label, count // rows) for label in range(rows)]))


def _members(dataset: ImageDataset, label: int, count: int) -> Int64[Tensor, " b"]:
    assert dataset.labels is not None
    found = np.flatnonzero(dataset.labels == label)
    if len(found) == 0:
        raise ValueError(f"{dataset.title} has no image of class '{dataset.classes[label]}'")
    return torch.from_numpy(np.resize(found, count))
