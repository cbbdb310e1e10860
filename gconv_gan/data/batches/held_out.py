"""Labelled test images in the order of the file: each once, without augmentation."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

from gconv_gan.data.batches.augment import centre_crop
from gconv_gan.data.device_images import gather
from gconv_gan.data.image_dataset import ImageDataset
from gconv_gan.data.reading.transforms import to_unit


@dataclass(frozen=True)
class HeldOut:
    """The images of a test.

    Attributes:
        dataset: the converted data set; labelled.
        size: side of the centre crop, the input of the network.
        indices: indices of the used images; None: all.

    """

    dataset: ImageDataset
    size: int
    indices: Int64[np.ndarray, " m"] | None = None

    def __len__(self) -> int:
        return len(self.dataset) if self.indices is None else len(self.indices)

    def stored(
        self, batch_size: int, *, index: int = 0, processes: int = 1
    ) -> Iterator[tuple[UInt8[Tensor, "b 3 s s"], Int64[Tensor, " b"]]]:
        """Yield (bytes, labels) of every ``processes``-th image from ``index`` on."""
        assert self.dataset.labels is not None
        chosen = np.arange(len(self.dataset)) if self.indices is None else self.indices
        mine = chosen[index::processes]
        for start in range(0, len(mine), batch_size):
            part = mine[start : start + batch_size]
            images = gather(self.dataset.images, torch.from_numpy(part))
            yield centre_crop(images, self.size), torch.from_numpy(self.dataset.labels[part])

    def batches(
        self, batch_size: int, *, index: int = 0, processes: int = 1
    ) -> Iterator[tuple[Float32[Tensor, "b 3 s s"], Int64[Tensor, " b"]]]:
        """Yield (images in [-1, 1], labels), as ``stored`` does."""
        for images, labels in self.stored(batch_size, index=index, processes=processes):
            yield to_unit(images), labels
