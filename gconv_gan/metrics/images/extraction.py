"""Feature extraction in one pass over the images; the result does not depend on the number of processes.

The processes take whole blocks of 256 images in turn, and gather the features of a round in block order. Sums are accumulated in
the order of the images, so no sum depends on the number of processes. One pass serves any number of extractors and counts: the
result for the first n images equals, bit for bit, that of a pass over n images alone.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from gconv_gan.config.errors import UserError
from gconv_gan.metrics.extractors.inception import Extractor
from gconv_gan.metrics.images.sources import BLOCK, ImageSource
from gconv_gan.metrics.statistics import Moments, StreamingMoments


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
    digests = {count: hashlib.sha256() for count in counts}
    for index, rows, hashes in _blocks(source, keepers, counts, processes, batch_size):
        first = BLOCK * index
        for keeper, (features, logits) in zip(keepers, rows, strict=True):
            keeper.add(first, features, logits)
        for count, block_digest in zip(counts, hashes, strict=True):
            if first < count:
                digests[count].update(block_digest)
        processes.seen(min(first + BLOCK, len(source)), len(source))
    by_network = {id(keeper.extractor): keeper for keeper in keepers}
    return [by_network[id(one.extractor)].result(one, digests[one.count].hexdigest()) for one in wanted]


def _distinct(wanted: Sequence[Wanted]) -> list[Extractor]:
    return list({id(one.extractor): one.extractor for one in wanted}.values())


class _Keeper:
    """Accumulates the rows of one extractor: running sums, the moments at each count, and the rows that are kept."""

    def __init__(self, extractor: Extractor, wanted: Sequence[Wanted]) -> None:
        self.extractor = extractor
        self.counts = sorted({one.count for one in wanted})
        self.num_features = max((one.count for one in wanted if one.features), default=0)
        self.num_logits = max((one.count for one in wanted if one.logits), default=0)
        self.stream = StreamingMoments(extractor.feature_dim, device=extractor.device)
        self.moments: dict[int, Moments] = {}
        self.features: list[Tensor] = []
        self.logits: list[Tensor] = []

    def add(self, first: int, features: Float[Tensor, "b d"], logits: Float[Tensor, "b k"]) -> None:
        """Add the rows of the images numbered from ``first``."""
        if not len(features):
            return
        finite = torch.isfinite(features).all(1) & torch.isfinite(logits).all(1)
        if not finite.all():
            number = first + int((~finite).nonzero()[0].item())
            raise UserError(f"the features of image {number} by {self.extractor.name} are not finite")
        last = first + len(features)
        for count in self.counts:
            if first < count <= last:
                prefix = self.stream.copy()
                prefix.update(features[: count - first])
                self.moments[count] = prefix.result()
        self.stream.update(features)
        if first < self.num_features:
            self.features.append(features[: self.num_features - first].cpu())
        if first < self.num_logits:
            self.logits.append(logits[: self.num_logits - first].cpu())

    def result(self, wanted: Wanted, images_sha256: str) -> Extraction:
        features = torch.cat(self.features)[: wanted.count] if wanted.features else None
        logits = torch.cat(self.logits)[: wanted.count] if wanted.logits else None
        return Extraction(self.moments[wanted.count], features, logits, images_sha256)


Rows = tuple[Float[Tensor, "b d"], Float[Tensor, "b k"]]


def _blocks(
    source: ImageSource, keepers: Sequence[_Keeper], counts: Sequence[int], processes: Processes, batch_size: int | None
) -> Iterator[tuple[int, list[Rows], list[bytes]]]:
    """Yield number, features and logits by each extractor, and a hash for each count, of every block, in order, on every process.

    An extractor whose last count lies before a block yields no rows; logits that are not kept have no columns.
    """
    blocks = -(-len(source) // BLOCK)
    device = keepers[0].extractor.device
    widths = [width for keeper in keepers for width in (keeper.extractor.feature_dim, _logit_columns(keeper))]
    for start in range(0, blocks, processes.count):
        mine = start + processes.rank
        rows, hashes = torch.zeros(BLOCK, sum(widths), device=device), torch.zeros(len(counts), 32, dtype=torch.uint8, device=device)
        if mine < blocks:  # else fewer blocks than processes are left
            images, offset = source.block(mine), 0
            for keeper in keepers:
                seen = images[: max(0, keeper.counts[-1] - BLOCK * mine)]
                columns = keeper.extractor.feature_dim + _logit_columns(keeper)
                if len(seen):
                    rows[: len(seen), offset : offset + columns] = _extract_block(seen, keeper, batch_size)
                offset += columns
            hashes = _hashes(images, [count - BLOCK * mine for count in counts]).to(device)
        gathered = torch.split(processes.gather(rows), BLOCK)
        digests = torch.split(processes.gather(hashes), len(counts))
        for index in range(start, min(start + processes.count, blocks)):
            parts = torch.split(gathered[index - start], widths, dim=1)
            valid = [min(BLOCK, max(0, keeper.counts[-1] - BLOCK * index)) for keeper in keepers]
            pairs = [(parts[2 * i][:count], parts[2 * i + 1][:count]) for i, count in enumerate(valid)]
            yield index, pairs, [bytes(row) for row in digests[index - start].tolist()]


def _logit_columns(keeper: _Keeper) -> int:
    return keeper.extractor.num_logits if keeper.num_logits else 0


def _extract_block(images: UInt8[Tensor, "b 3 h w"], keeper: _Keeper, batch_size: int | None) -> Float[Tensor, "b columns"]:
    pairs = [keeper.extractor(batch) for batch in torch.split(images, batch_size or usual_batch_size(keeper.extractor.device))]
    return torch.cat([torch.cat([features, logits[:, : _logit_columns(keeper)]], 1) for features, logits in pairs])


def _hashes(images: UInt8[Tensor, "b 3 h w"], counts: Sequence[int]) -> UInt8[Tensor, "c 32"]:
    """Return SHA-256 of shape and bytes of the first min(count, b) images, for each count; zeros for a count below 1."""
    pixels = images.cpu().contiguous().numpy()
    known: dict[int, list[int]] = {0: [0] * 32}
    for count in counts:
        size = min(max(count, 0), len(pixels))
        if size not in known:
            known[size] = list(hashlib.sha256(repr((size, *pixels.shape[1:])).encode() + pixels[:size].tobytes()).digest())
    return torch.tensor([known[min(max(count, 0), len(pixels))] for count in counts], dtype=torch.uint8)
