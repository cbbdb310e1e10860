"""Batches of real images of one process: ordered, mirrored, scaled, on the device.

Order and mirroring are functions of the image count and the place in the global batch: the images that the discriminator sees do not
depend on the number of processes, and a resumed run sees those of an uninterrupted one. The batch is gathered from the memory map in the
order of the file; only the operating system's page cache, shared by all processes, holds images in memory. There are no worker processes
and there is no prefetching: a CIFAR batch of 64 takes well under a millisecond. If the images are decoded at every access, decoding of
the next batch starts while the current one is used.
"""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

from gconv_gan.config.errors import UserError
from gconv_gan.data.datasets import require_images_of_every_class
from gconv_gan.data.decoded_images import DecodedImages
from gconv_gan.data.image_dataset import ImageDataset
from gconv_gan.data.sampler import BalancedSampler
from gconv_gan.data.shard_order import order_of
from gconv_gan.data.transforms import flip, to_unit
from gconv_gan.runtime.random import Stream
from gconv_gan.runtime.sharing import share

Balance = Literal["none", "per_class", "overall"]


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
        self._sampler = order_of(dataset, seed=seed) if balance == "none" else _balanced(dataset, seed, balance, batch_size)

    def batch(self, images_seen: int) -> tuple[Float32[Tensor, "b 3 s s"], Int64[Tensor, " b"] | None]:
        """Return this process's share of the global batch at ``images_seen``: reals in [-1, 1] [b, 3, S, S] and labels [b], or None."""
        chosen = self._chosen(images_seen)
        images = gather(self.dataset.images, chosen).to(self.device)
        if isinstance(self.dataset.images, DecodedImages):
            self.dataset.images.expect(self._chosen(images_seen + self.batch_size).sort().values.numpy())
        if self.flip:
            images = flip(images, self._coins.coins(images_seen, self._places))  # before conversion to float32: a quarter of the bytes
        labels = self.dataset.labels
        return to_unit(images), None if labels is None else torch.from_numpy(labels[chosen.numpy()]).to(self.device)

    def _chosen(self, images_seen: int) -> Int64[Tensor, " b"]:
        return self._sampler.indices(images_seen, self.batch_size)[self._share]


def _balanced(dataset: ImageDataset, seed: int, balance: Balance, batch_size: int) -> BalancedSampler:
    if dataset.labels is None:
        raise UserError(f'{dataset.title} is unlabelled: trainer.balance = "{balance}" has no classes to balance; use "none"')
    require_images_of_every_class(dataset, needed_by=f'trainer.balance = "{balance}"')
    return BalancedSampler(seed=seed, labels=dataset.labels, block=batch_size if balance == "per_class" else None)


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


def gather(images: UInt8[np.ndarray, "n 3 s s"] | DecodedImages, chosen: Int64[Tensor, " b"]) -> UInt8[Tensor, "b 3 s s"]:
    """Return images[chosen], read in the order of the file, which is faster on a set larger than the memory."""
    order = np.argsort(chosen.numpy(), kind="stable")
    gathered = np.empty((len(chosen), *images.shape[1:]), dtype=np.uint8)
    gathered[order] = images[chosen.numpy()[order]]
    return torch.from_numpy(gathered)
