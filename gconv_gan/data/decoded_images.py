"""Images decoded from their files at every access, as if they were the array uint8 [n, 3, s, s] of the cache.

For sets that outgrow the disk: nothing but labels and an index is stored. All cores decode, and a batch that is known to come next is
decoded while the device works on this one.
"""

import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from jaxtyping import Int64, UInt8

from gconv_gan.config.errors import UserError
from gconv_gan.data.decoding import available_cores
from gconv_gan.data.pictures import DamagedImageError
from gconv_gan.data.source import Entry, Picture


class DecodedImages:
    """``images[index]`` for a slice or an array of numbers, as NumPy has it.

    Args:
        entries: the pictures of the source.
        kept: which of them, in order.
        size: side of the images.
        location: the source's, for messages.

    """

    dtype = np.dtype(np.uint8)

    def __init__(self, entries: Sequence[Entry], kept: Int64[np.ndarray, " n"], *, size: int, location: str) -> None:
        self.entries, self.kept, self.size, self.location = entries, kept, size, location
        self._pool: ThreadPoolExecutor | None = None
        self._process = 0
        self._expected: dict[bytes, list[Future[Picture]]] = {}

    def __len__(self) -> int:
        return len(self.kept)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n, 3, s, s)."""
        return len(self.kept), 3, self.size, self.size

    def __getitem__(self, index: slice | Int64[np.ndarray, " b"]) -> UInt8[np.ndarray, "b 3 s s"]:
        chosen = np.arange(len(self.kept))[index]
        pictures = self._expected.pop(chosen.tobytes(), None)
        if pictures is None:
            pictures = self._submit(chosen)
        result = np.empty((len(chosen), *self.shape[1:]), dtype=np.uint8)
        for place, picture in zip(result, pictures, strict=True):
            place[...] = picture.result()
        return result

    def expect(self, index: Int64[np.ndarray, " b"]) -> None:
        """Begin to decode what will be asked for next; what was expected before and never asked for is forgotten."""
        wanted = index.astype(np.int64)
        for pictures in self._expected.values():
            for picture in pictures:
                picture.cancel()
        self._expected = {wanted.tobytes(): self._submit(wanted)}

    def _submit(self, chosen: Int64[np.ndarray, " b"]) -> list[Future[Picture]]:
        if self._pool is None or self._process != os.getpid():  # threads do not survive a fork
            self._pool, self._process, self._expected = ThreadPoolExecutor(available_cores(), "decode"), os.getpid(), {}
        return [self._pool.submit(self._read, int(i)) for i in self.kept[chosen]]

    def _read(self, i: int) -> Picture:
        try:
            return self.entries[i].read()[0]
        except DamagedImageError as error:
            raise UserError(
                f"{self.location}: {self.entries[i].name} has been damaged since it was prepared ({error}); put the files back as they were"
            ) from error
