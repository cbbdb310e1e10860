"""Feature extraction in one pass over the images; the result does not depend on the number of processes.

The processes take whole blocks of 256 images in turn, and gather the features of a round in block order. Sums are accumulated in
the order of the images, so no sum depends on the number of processes. One pass serves any number of extractors and counts: the
result for the first n images equals, bit for bit, that of a pass over n images alone.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from gconv_gan.config.errors import UserError
from gconv_gan.metrics.extractors.inception import Extractor
from gconv_gan.metrics.images.sources import BLOCK, ImageSource, StartsBlocks
from gconv_gan.metrics.statistics import Moments, StreamingMoments
from gconv_gan.runtime.host_copies import copied_to_host

ALL_FINITE = 2**62  # larger than the number of any image


def _alone(tensor: Tensor) -> Tensor:
    return tensor


def _unseen(done: int, total: int) -> None:
    pass


@dataclass(frozen=True)
class Processes:
    """The processes that share the work: index of this process, their number, and ``gather``, which concatenates along dimension 0 by rank.

    ``seen`` is called after every block with the number of images that are done, and of all.

    With Accelerate: ``Processes(accelerator.process_index, accelerator.num_processes, accelerator.gather)``.
    """

    rank: int = 0
    count: int = 1
    gather: Callable[[Tensor], Tensor] = _alone
    seen: Callable[[int, int], None] = _unseen


ALONE = Processes()


def usual_batch_size(device: torch.device) -> int:
    """Return the fastest batch size of an extractor: on a CPU 16, which fits into the caches and takes a fifth less time than 64."""
    return 16 if device.type == "cpu" else 64


@dataclass(frozen=True)
class Wanted:
    """The data to keep of the first ``count`` images under ``extractor``: the moments always, features and logits on request."""

    extractor: Extractor
    count: int
    features: bool = False
    """Keep [n, d] in memory (KID, precision and recall need it; the Fréchet distance does not)."""
    logits: bool = False
    """Keep [n, k] in memory (the Inception Score needs it)."""


@dataclass(frozen=True)
class Extraction:
    """The data kept of a set of images: moments of the features, and on request the features [n, d] and logits [n, k]."""

    moments: Moments
    features: Float32[Tensor, "n d"] | None
    """On the device of the extractor, as the logits."""
    logits: Float32[Tensor, "n k"] | None
    images_sha256: str


def extract(
    source: ImageSource, wanted: Sequence[Wanted], *, processes: Processes = ALONE, batch_size: int | None = None
) -> list[Extraction]:
    """Return, for each of ``wanted``, the data of one pass in which every image goes once through each distinct extractor.

    Every process returns the same values; they do not depend on the number of processes.

    Args:
        source: the images, as many as the largest count.
        wanted: the data to keep; equal extractors must be the same object.
        processes: the processes that share the work.
        batch_size: images per call of an extractor, at most 256; None: ``usual_batch_size`` of its device.

    Raises:
        UserError: features or logits are not finite; the message names the first such image.

    """
    counts = sorted({one.count for one in wanted})
    if counts[-1] != len(source):
        raise ValueError(f"{counts[-1]} images are wanted of a source of {len(source)}")
    keepers = [_Keeper(network, [one for one in wanted if one.extractor is network]) for network in _distinct(wanted)]
    hashes = _Hashes(counts, keepers[0].extractor.device, processes)
    for index, rows in _blocks(source, keepers, hashes, processes, batch_size):
        for keeper, (features, logits) in zip(keepers, rows, strict=True):
            keeper.add(BLOCK * index, features, logits)
        processes.seen(min(BLOCK * (index + 1), len(source)), len(source))
    for keeper in keepers:
        keeper.require_finite()
    digests = hashes.digests()
    by_network = {id(keeper.extractor): keeper for keeper in keepers}
    return [by_network[id(one.extractor)].result(one, digests[one.count]) for one in wanted]


def _distinct(wanted: Sequence[Wanted]) -> list[Extractor]:
    return list({id(one.extractor): one.extractor for one in wanted}.values())


class _Keeper:
    """Accumulates on the device the rows of one extractor: running sums, the moments at each count, and the rows that are kept."""

    def __init__(self, extractor: Extractor, wanted: Sequence[Wanted]) -> None:
        self.extractor = extractor
        self.counts = sorted({one.count for one in wanted})
        self.num_features = max((one.count for one in wanted if one.features), default=0)
        self.num_logits = max((one.count for one in wanted if one.logits), default=0)
        self.stream = StreamingMoments(extractor.feature_dim, device=extractor.device)
        self.moments: dict[int, Moments] = {}
        self.features = torch.empty(self.num_features, extractor.feature_dim, device=extractor.device)
        self.logits = torch.empty(self.num_logits, extractor.num_logits, device=extractor.device)
        self._not_finite = torch.full((), ALL_FINITE, device=extractor.device)
        """Number of the first image whose features or logits are not finite."""

    def add(self, first: int, features: Float[Tensor, "b d"], logits: Float[Tensor, "b k"]) -> None:
        """Add the rows of the images numbered from ``first``, without waiting for the device."""
        if not len(features):
            return
        last = first + len(features)
        finite = torch.isfinite(features).all(1) & torch.isfinite(logits).all(1)
        numbers = torch.arange(first, last, device=features.device)
        self._not_finite = torch.minimum(self._not_finite, torch.where(finite, ALL_FINITE, numbers).amin())
        for count in self.counts:
            if first < count <= last:
                prefix = self.stream.copy()
                prefix.update(features[: count - first])
                self.moments[count] = prefix.result()
        self.stream.update(features)
        for kept, rows in ((self.features, features), (self.logits, logits)):
            if first < len(kept):
                kept[first:last] = rows[: len(kept) - first]

    def require_finite(self) -> None:
        """Raise ``UserError`` naming the first image whose features or logits are not finite. Waits for the device."""
        if (number := int(self._not_finite.item())) != ALL_FINITE:
            raise UserError(f"the features of image {number} by {self.extractor.name} are not finite")

    def result(self, wanted: Wanted, images_sha256: str) -> Extraction:
        features = self.features[: wanted.count] if wanted.features else None
        logits = self.logits[: wanted.count] if wanted.logits else None
        return Extraction(self.moments[wanted.count], features, logits, images_sha256)


class _Hashes:
    """Collects SHA-256 of this process's blocks, for each count; the digests of the first count images combine those of all processes."""

    def __init__(self, counts: Sequence[int], device: torch.device, processes: Processes) -> None:
        self.counts, self._device, self._processes = counts, device, processes
        self._mine: list[UInt8[Tensor, "c 32"]] = []

    def add(self, index: int, images: UInt8[Tensor, "b 3 h w"] | None) -> None:
        """Add block ``index``, on the host; None: this process has no block in this round."""
        counts = [count - BLOCK * index for count in self.counts]
        self._mine.append(torch.zeros(len(counts), 32, dtype=torch.uint8) if images is None else _block_hashes(images, counts))

    def digests(self) -> dict[int, str]:
        """Return the digest of the first n images for each count n. Collective."""
        rounds = torch.stack(self._mine).to(self._device)
        blocks = torch.stack(torch.split(self._processes.gather(rounds), len(rounds)), 1).flatten(0, 1).tolist()
        digests = {}
        for place, count in enumerate(self.counts):
            digest = hashlib.sha256()
            for block in blocks[: -(-count // BLOCK)]:
                digest.update(bytes(block[place]))
            digests[count] = digest.hexdigest()
        return digests


Rows = tuple[Float[Tensor, "b d"], Float[Tensor, "b k"]]


def _blocks(
    source: ImageSource, keepers: Sequence[_Keeper], hashes: _Hashes, processes: Processes, batch_size: int | None
) -> Iterator[tuple[int, list[Rows]]]:
    """Yield number, features and logits by each extractor of every block, in order, on every process; add the blocks to ``hashes``.

    While the device computes a block, the host hashes the one before. An extractor whose last count lies before a block yields no rows;
    logits that are not kept have no columns.
    """
    blocks = -(-len(source) // BLOCK)
    device = keepers[0].extractor.device
    widths = [width for keeper in keepers for width in (keeper.extractor.feature_dim, _logit_columns(keeper))]
    before: Callable[[], None] = _nothing
    for start in range(0, blocks, processes.count):
        mine = start + processes.rank
        rows = torch.zeros(BLOCK, sum(widths), device=device)
        finish = partial(hashes.add, mine, None)
        if mine < blocks:  # else fewer blocks than processes are left
            images, require_finite = _started(source, mine)
            offset = 0
            for keeper in keepers:
                seen = images[: max(0, keeper.counts[-1] - BLOCK * mine)]
                columns = keeper.extractor.feature_dim + _logit_columns(keeper)
                if len(seen):
                    rows[: len(seen), offset : offset + columns] = _extract_block(seen, keeper, batch_size)
                offset += columns
            finish = partial(_finish, hashes, mine, copied_to_host(images), require_finite)
        gathered = torch.split(processes.gather(rows), BLOCK)
        for index in range(start, min(start + processes.count, blocks)):
            parts = torch.split(gathered[index - start], widths, dim=1)
            valid = [min(BLOCK, max(0, keeper.counts[-1] - BLOCK * index)) for keeper in keepers]
            yield index, [(parts[2 * i][:count], parts[2 * i + 1][:count]) for i, count in enumerate(valid)]
        before()
        before = finish
    before()


def _nothing() -> None:
    pass


def _started(source: ImageSource, index: int) -> tuple[UInt8[Tensor, "b 3 h w"], Callable[[], None]]:
    """Return a block, and a function that raises its errors."""
    return source.start_block(index) if isinstance(source, StartsBlocks) else (source.block(index), _nothing)


def _finish(hashes: _Hashes, index: int, images: Callable[[], Tensor], require_finite: Callable[[], None]) -> None:
    require_finite()
    hashes.add(index, images())


def _logit_columns(keeper: _Keeper) -> int:
    return keeper.extractor.num_logits if keeper.num_logits else 0


def _extract_block(images: UInt8[Tensor, "b 3 h w"], keeper: _Keeper, batch_size: int | None) -> Float[Tensor, "b columns"]:
    pairs = [keeper.extractor(batch) for batch in torch.split(images, batch_size or usual_batch_size(keeper.extractor.device))]
    return torch.cat([torch.cat([features, logits[:, : _logit_columns(keeper)]], 1) for features, logits in pairs])


def _block_hashes(images: UInt8[Tensor, "b 3 h w"], counts: Sequence[int]) -> UInt8[Tensor, "c 32"]:
    """Return SHA-256 of shape and bytes of the first min(count, b) images, for each count; zeros for a count below 1."""
    pixels = images.contiguous().numpy()
    known: dict[int, list[int]] = {0: [0] * 32}
    for count in counts:
        size = min(max(count, 0), len(pixels))
        if size not in known:
            known[size] = list(hashlib.sha256(repr((size, *pixels.shape[1:])).encode() + pixels[:size].tobytes()).digest())
    return torch.tensor([known[min(max(count, 0), len(pixels))] for count in counts], dtype=torch.uint8)
