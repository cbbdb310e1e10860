"""Stored images on the device: gathered there where all of them fit into its memory, else gathered on the host and sent.

A thread gathers for a CUDA device what the next iteration needs, while the device computes on the present one.
"""

from functools import partial
from typing import Literal
from weakref import WeakValueDictionary

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from gconv_gan.data.image_dataset import ImageDataset
from gconv_gan.data.read_ahead import ReadAhead
from gconv_gan.data.reading.decoded_images import DecodedImages
from gconv_gan.runtime.host_copies import copied_to_device

SHARE = 0.5
"""Of the free memory of a CUDA device, that images may take by themselves."""

Resident = Literal["auto"] | bool

_RESIDENT: WeakValueDictionary[tuple[str, torch.device], Tensor] = WeakValueDictionary()
"""Sets on a device by their content: the runs of a process share one copy."""


class DeviceImages:
    """``images(chosen)``: the stored images of the numbers ``chosen`` [b], on the device.

    Args:
        dataset: the converted data set.
        device: where the images are wanted.
        resident: keep the whole set there; "auto": where it is a CUDA device, and they take at most half of its free memory.

    """

    def __init__(self, dataset: ImageDataset, device: torch.device, *, resident: Resident = "auto") -> None:
        self.stored, self.device = dataset.images, device
        self.resident: UInt8[Tensor, "n 3 s s"] | None = None
        self._ahead: ReadAhead | None = None
        if isinstance(self.stored, DecodedImages):
            return  # decoded at every access, because there is no room for the pixels
        known = _RESIDENT.get((dataset.content_hash, device))
        if known is None and (resident is True or (resident == "auto" and _fits(self.stored.nbytes, device))):
            known = torch.from_numpy(np.array(self.stored)).to(device)
            _RESIDENT[dataset.content_hash, device] = known
        self.resident = None if resident is False else known

    def __call__(self, chosen: Int64[Tensor, " b"]) -> UInt8[Tensor, "b 3 s s"]:
        if self.resident is not None:
            return self.resident.index_select(0, chosen.to(self.device, non_blocking=True))
        images = None if self._ahead is None else self._ahead(chosen)
        if images is not None:
            return images
        return copied_to_device(gather(self.stored, chosen), self.device)

    @property
    def expects(self) -> bool:
        """Return whether images may be read before they are asked for."""
        return self.resident is None and (isinstance(self.stored, DecodedImages) or reads_ahead(self.device))

    def expect(self, chosen: Int64[Tensor, " b"]) -> None:
        """Begin reading the images of the next call, if ``expects``."""
        if reads_ahead(self.device):
            if self._ahead is None:
                self._ahead = ReadAhead(partial(_read, self.stored), self.stored.shape[1:], self.device)
            self._ahead.begin(chosen)
        elif isinstance(self.stored, DecodedImages):
            self.stored.expect(chosen.sort().values.numpy())


def reads_ahead(device: torch.device) -> bool:
    """Return whether a thread reads the next images; where the processor trains, it would compete with the training."""
    return device.type == "cuda"


def _read(stored: UInt8[np.ndarray, "n 3 s s"] | DecodedImages, chosen: Int64[Tensor, " b"], to: UInt8[Tensor, "b 3 s s"]) -> None:
    to.copy_(gather(stored, chosen))


def _fits(count: int, device: torch.device) -> bool:
    return device.type == "cuda" and count <= SHARE * torch.cuda.mem_get_info(device)[0]


def gather(images: UInt8[np.ndarray, "n 3 s s"] | DecodedImages, chosen: Int64[Tensor, " b"]) -> UInt8[Tensor, "b 3 s s"]:
    """Return images[chosen], read in the order of the file: on a set larger than the memory, that spares the disk."""
    order = np.argsort(chosen.numpy(), kind="stable")
    gathered = np.empty((len(chosen), *images.shape[1:]), dtype=np.uint8)
    gathered[order] = images[chosen.numpy()[order]]
    return torch.from_numpy(gathered)
