"""Images decoded from their files at every access, with the interface of the cache's array uint8 [n, 3, s, s].

For sets too large to store converted: only labels and an index are stored. All cores decode, and the next batch is decoded while the
device computes on the current one.
"""

import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from jaxtyping import Int64, UInt8

from gconv_gan.config.errors import UserError
from gconv_gan.data.reading.decoding import available_cores
from gconv_gan.data.reading.pictures import DamagedImageError
from gconv_gan.data.sources.source import Entry, Picture


class DecodedImages:
    """Images with NumPy's indexing ``images[index]`` by a slice or an array of numbers.

    Args:
        entries: the pictures of the source.
        kept: indices of the used ones, in order.
        size: side of the images.
        location: location of the source, for messages.

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
        """Return (n, 3, s, s)."""
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
        """Start decoding the images of the next access; images expected earlier and not accessed are dropped."""
        wanted = index.astype(np.int64)
        for pictures in self._expected.values():
            for picture in pictures:
                picture.cancel()
        self._expected = {wanted.tobytes(): self._submit(wanted)}

    def _submit(self, chosen: Int64[np.ndarray, " b"]) -> list[Future[Picture]]:
        if self._pool is None or self._process != os.getpid():  # a forked process has no threads of its parent
            self._pool, self._process, self._expected = ThreadPoolExecutor(available_cores(), "decode"), os.getpid(), {}
        return [self._pool.submit(self._read, int(i)) for i in self.kept[chosen]]

    def _read(self, i: int) -> Picture:
        try:
            return self.entries[i].read()[0]
        except DamagedImageError as error:
            raise UserError(
                f"{self.location}: {self.entries[i].name} has been damaged since it was prepared ({error}); restore the files"
            ) from error
