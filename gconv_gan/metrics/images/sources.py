"""Sources of images to be scored, in a fixed order and in fixed blocks of 256.

Processes take whole blocks, and every random number of image i is a function of (seed, i). So image i does not depend on the
number of processes or the batch size.
"""

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import PIL
import torch
from jaxtyping import Int, UInt8
from torch import Tensor, nn

from gconv_gan.config.errors import UserError
from gconv_gan.data.reading.archives import list_pictures, open_tree, shown
from gconv_gan.data.reading.decoded_images import DecodedImages
from gconv_gan.data.reading.pictures import PICTURES_RECIPE, DamagedImageError, Header, decode, read_header
from gconv_gan.data.reading.transforms import quantise
from gconv_gan.data.sources.folder import in_split
from gconv_gan.metrics.images.batch_statistics import batch_statistics
from gconv_gan.runtime.files.atomic import write_text
from gconv_gan.runtime.host_copies import copied_to_host
from gconv_gan.runtime.modes import evaluating
from gconv_gan.runtime.random import Stream
from gconv_gan.sampling.generator import Sampler, whole_batches
from gconv_gan.sampling.latents import numbered_labels, numbered_latents

BLOCK = 256
AS_STORED = "as stored"  # the recipe of pictures that are not resized


@runtime_checkable
class ImageSource(Protocol):
    """``len(source)`` images; ``source.block(i)`` returns those numbered [256·i, 256·(i+1)), as bytes [b, 3, h, w]."""

    def __len__(self) -> int: ...

    def block(self, index: int) -> UInt8[Tensor, "b 3 h w"]:
        """Return block ``index`` as bytes [b, 3, h, w]; only the last block has fewer than 256 images."""


@runtime_checkable
class StoredImages(Protocol):
    """Stored images: they can be read in any order, and ``fingerprint`` identifies their content."""

    fingerprint: str

    @property
    def formats(self) -> Collection[str]:
        """Return the names of the file formats ("PNG") of the images taken so far."""
        ...

    def __len__(self) -> int: ...

    def block(self, index: int) -> UInt8[Tensor, "b 3 h w"]:
        """Return block ``index`` as bytes [b, 3, h, w], as ``ImageSource`` does."""

    def take(self, indices: Sequence[int]) -> UInt8[Tensor, "b 3 h w"]:
        """Return the images with these numbers, in this order, as bytes [b, 3, h, w]."""


def block_range(index: int, count: int) -> range:
    """Return the numbers of the images of block ``index`` among ``count``."""
    return range(BLOCK * index, min(BLOCK * (index + 1), count))


@runtime_checkable
class StartsBlocks(Protocol):
    """An image source whose device need not be waited for."""

    def start_block(self, index: int) -> tuple[UInt8[Tensor, "b 3 h w"], Callable[[], None]]:
        """Return block ``index``, which the device may still be computing, and a function that raises the errors of ``block``."""
        ...


class ArrayImages:
    """Images held as bytes [n, 3, h, w], in memory or in a memory map; ``fingerprint`` identifies their content.

    ``formats`` are the formats of the original files.
    """

    def __init__(
        self, images: UInt8[np.ndarray, "n 3 h w"] | DecodedImages, *, fingerprint: str, formats: Collection[str] = ("array",)
    ) -> None:
        self.images, self.fingerprint, self.formats = images, fingerprint, formats

    def __len__(self) -> int:
        return len(self.images)

    def block(self, index: int) -> UInt8[Tensor, "b 3 h w"]:
        """Return block ``index``, see ``StoredImages``."""
        return self.take(block_range(index, len(self)))

    def take(self, indices: Sequence[int]) -> UInt8[Tensor, "b 3 h w"]:
        """Return the images with these numbers, see ``StoredImages``."""
        return torch.from_numpy(self.images[np.asarray(indices, dtype=np.int64)])  # a copy: a memory map is read-only


class ImageFiles:
    """Pictures in a folder, a zip or a plain tar, with all sub-folders: the files that training takes, in its order.

    Args:
        path: the folder or archive.
        size: bring every picture to this side by the recipe of training, a centre crop and an antialiased resize; None: as stored.
        split: only the pictures of this top-level sub-folder.
        memory: folder of the stored content hash and headers of unchanged files, so that they are read once.

    Attributes:
        size: the argument.
        names: the pictures' paths, as text for messages.
        headers: format, width and height of every picture, as stored.
        side: side of the images in pixels.
        recipe: the conversion of files to images, for the score card.
        left_out: one sentence on skipped files and the reason; "" if there are none.

    Raises:
        UserError: there are no images, or one cannot be used; without ``size``, one is not square, or of another size than the
            first. The message names it.

    """

    def __init__(self, path: Path, *, size: int | None = None, split: str | None = None, memory: Path) -> None:
        self.path, self.size = path, size
        self._tree = open_tree(path, where="")
        listing = list_pictures(self._tree)
        self._pictures, _ = in_split(listing.pictures, split, path, where="")
        self.left_out = listing.left_out
        self.names = [shown(parts) for parts in self._pictures]
        self.fingerprint = self._tree.fingerprint(lambda: self._pictures, memory=memory) + (f" {split}/" if split else "")
        self.headers = self._remembered_headers(memory)
        self.side = self._common_side() if size is None else size
        self.recipe = AS_STORED if size is None else f"size {size}; {PICTURES_RECIPE}"

    def __len__(self) -> int:
        return len(self.names)

    @property
    def formats(self) -> dict[str, int]:
        """Return the number of files of each format."""
        return dict(sorted(Counter(header.format for header in self.headers).items()))

    def block(self, index: int) -> UInt8[Tensor, "b 3 h w"]:
        """Return block ``index``, see ``StoredImages``."""
        return self.take(block_range(index, len(self)))

    def take(self, indices: Sequence[int]) -> UInt8[Tensor, "b 3 h w"]:
        """Return the images with these numbers, see ``StoredImages``."""
        return torch.stack([self._pixels(index) for index in indices])

    def _remembered_headers(self, memory: Path) -> list[Header]:
        """Return all headers; from ``memory`` if the same version of Pillow has read the same content before."""
        key = hashlib.sha256(json.dumps([self.fingerprint, PIL.__version__]).encode()).hexdigest()
        stored = memory / f"headers-{key}.json"
        with contextlib.suppress(FileNotFoundError, ValueError, TypeError):  # an incomplete file is written again
            found = [Header(*header) for header in json.loads(stored.read_text())]
            if len(found) == len(self):
                return found
        headers = [self._header(index) for index in range(len(self))]
        memory.mkdir(parents=True, exist_ok=True)
        write_text(stored, json.dumps(headers))
        return headers

    def _header(self, index: int) -> Header:
        try:
            with self._tree.open(self._pictures[index]) as file:
                return read_header(file)
        except DamagedImageError as error:
            raise self._unusable(index, str(error)) from error

    def _pixels(self, index: int) -> UInt8[Tensor, "3 h w"]:
        try:
            return torch.from_numpy(decode(self._tree.read(self._pictures[index]), size=self.side)[0])
        except DamagedImageError as error:
            raise self._unusable(index, str(error)) from error

    def _unusable(self, index: int, reason: str) -> UserError:
        return UserError(f"{self.path}: {self.names[index]} cannot be used ({reason}); replace or remove it")

    def _common_side(self) -> int:
        """Return the side of the pictures, which must be square and of one size."""
        first = self.headers[0]
        for name, header in zip(self.names, self.headers, strict=True):
            found = f"{self.path}: {name} has {header.width}x{header.height} pixels"
            bring = "bring them to one square size with --size, such as --size 64"
            if (header.width, header.height) != (first.width, first.height):
                raise UserError(f"{found} but {self.names[0]} has {first.width}x{first.height}: {bring}")
            if header.width != header.height:
                raise UserError(f"{found}: only square images are scored; {bring}")
        return first.width


class ChosenImages:
    """``count`` of the images of ``source``, chosen at random by (seed, "eval_choice") and kept in their order.

    ``key`` is the flag or config key of ``count``, for messages.

    Raises:
        UserError: ``source`` has fewer images.

    """

    def __init__(self, source: StoredImages, count: int, *, seed: int, key: str = "their number") -> None:
        if count > len(source):
            raise UserError(f"{count} images are asked for, but there are only {len(source)}: set {key} to at most that")
        self.source = source
        order = Stream(seed, "eval_choice").permutation(0, len(source))
        self.indices: list[int] = order[:count].sort().values.tolist()
        self.choice = f"{count} of {len(source)}, seed {seed}"
        self.fingerprint = source.fingerprint if count == len(source) else f"{source.fingerprint} ({self.choice})"

    @property
    def formats(self) -> Collection[str]:
        """Return the names of the file formats of the images that were chosen from."""
        return self.source.formats

    def __len__(self) -> int:
        return len(self.indices)

    def block(self, index: int) -> UInt8[Tensor, "b 3 h w"]:
        """Return block ``index``, see ``StoredImages``."""
        return self.take(block_range(index, len(self)))

    def take(self, indices: Sequence[int]) -> UInt8[Tensor, "b 3 h w"]:
        """Return the images with these numbers, see ``StoredImages``."""
        return self.source.take([self.indices[index] for index in indices])


class PartOfImages(ChosenImages):
    """The images of ``source`` with the numbers ``indices``, in increasing order; ``choice`` says which these are."""

    def __init__(self, source: StoredImages, indices: Sequence[int], *, choice: str) -> None:
        self.source, self.indices, self.choice = source, sorted(indices), choice
        self.fingerprint = f"{source.fingerprint} ({choice})"


class FakeSource:
    """``count`` images of a generator in eval mode: image i is a function of (seed, i) and the weights alone.

    Latents are ``numbered_latents``, labels ``numbered_labels``.

    Args:
        generator: ``generator(z, y)`` with ``latent_dim`` and ``num_classes``; y is None where ``num_classes`` is.
        count: number of images.
        seed: seed of latents and labels.
        device: device of the generator.
        class_counts: draw labels with these relative frequencies; None: uniform over the classes.
        batch_size: images per call, at most 256, which changes them by float round-off alone; None: 32 on a CPU, which fits into
            its caches, else 256.
        threshold: truncation of the latents, see ``draw_latents``; None: normal latents.
        statistics_batch: normalise by the statistics of whole batches of this size, a divisor of 256: image i then depends on the
            other images of its batch too. None: normalise by the running statistics.

    Raises:
        ValueError: the frequencies do not fit the generator's classes, or the batches do not divide 256.
        UserError: (from ``block``) images are not finite.

    """

    def __init__(
        self,
        generator: nn.Module,
        *,
        count: int,
        seed: int,
        device: torch.device | str = "cpu",
        class_counts: Sequence[int] | None = None,
        batch_size: int | None = None,
        threshold: float | None = None,
        statistics_batch: int | None = None,
    ) -> None:
        self.generator, self.count, self.seed, self.device, self.threshold = generator, count, seed, device, threshold
        self.latent_dim, self.num_classes = shape_of(generator)
        if class_counts is not None and len(class_counts) != self.num_classes:
            raise ValueError(f"{len(class_counts)} class frequencies for a generator of {self.num_classes} classes")
        if statistics_batch is not None and BLOCK % statistics_batch:
            raise ValueError(f"batches of {statistics_batch} do not fill blocks of {BLOCK}")
        self.class_counts = class_counts
        mode = evaluating if statistics_batch is None else batch_statistics
        self._sampler = Sampler(generator, batch_size=statistics_batch or batch_size, mode=mode)
        self.batch_size = self._sampler.batch_size

    @property
    def labels(self) -> str:
        """Return which labels are drawn, for the score card: "none", "uniform" or "empirical"."""
        if self.num_classes is None:
            return "none"
        return "uniform" if self.class_counts is None else "empirical"

    def __len__(self) -> int:
        return self.count

    def block(self, index: int) -> UInt8[Tensor, "b 3 h w"]:
        """Return the generated images of block ``index``, see ``ImageSource``."""
        images, require_finite = self.start_block(index)
        require_finite()
        return images

    @torch.no_grad()
    def start_block(self, index: int) -> tuple[UInt8[Tensor, "b 3 h w"], Callable[[], None]]:
        """Return the images of block ``index`` without waiting for the device, and a function that raises the errors of ``block``."""
        numbers = block_range(index, self.count)
        z = numbered_latents(self.seed, self._whole(index), latent_dim=self.latent_dim, threshold=self.threshold)
        y = self._labels(index)
        whole = whole_batches(len(numbers), self.batch_size)
        images = self._sampler(z[:whole], None if y is None else y[:whole])[: len(numbers)]
        finite = copied_to_host(torch.isfinite(images).flatten(1).all(1))

        def require_finite() -> None:
            flags = finite()
            if not flags.all():
                first = numbers.start + int((~flags).nonzero()[0].item())
                raise UserError(f"generated image {first} holds values that are not finite: the generator has diverged")

        return quantise(images), require_finite

    def block_labels(self, index: int) -> Int[Tensor, " b"] | None:
        """Return the labels of the images of a block; None without classes."""
        labels = self._labels(index)
        return None if labels is None else labels[: len(block_range(index, self.count))].cpu()

    def _labels(self, index: int) -> Int[Tensor, " b"] | None:
        """Return the labels of a whole block of 256."""
        if self.num_classes is None:
            return None
        if self.class_counts is None:
            return numbered_labels(self.seed, self._whole(index), num_classes=self.num_classes)
        ends = torch.tensor(self.class_counts, device=self.device).cumsum(0)
        # rank of the image among all images, sorted by class
        place = numbered_labels(self.seed, self._whole(index), num_classes=sum(self.class_counts))
        return torch.searchsorted(ends, place, right=True)

    def _whole(self, index: int) -> Int[Tensor, " b"]:
        """Return the numbers of the images of a whole block of 256."""
        return torch.arange(BLOCK * index, BLOCK * (index + 1), device=self.device)


def shape_of(generator: nn.Module) -> tuple[int, int | None]:
    """Return a generator's latent_dim and num_classes."""
    latent_dim, num_classes = generator.latent_dim, generator.num_classes
    assert isinstance(latent_dim, int)
    assert num_classes is None or isinstance(num_classes, int)
    return latent_dim, num_classes
