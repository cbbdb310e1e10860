"""Images to be scored, in a fixed order and in fixed blocks of 256, whoever computes them.

Processes take whole blocks, and everything random about image i is a function of (seed, i). So image i is the same on one
process and on eight, at any batch size.
"""

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int, UInt8
from PIL import Image
from torch import Tensor, nn

from gconv_gan.config.errors import UserError
from gconv_gan.config.hints import does_not_exist
from gconv_gan.data.decoded_images import DecodedImages
from gconv_gan.data.fingerprint import content_hash
from gconv_gan.data.pictures import DamagedImageError, standardise
from gconv_gan.data.transforms import quantise
from gconv_gan.metrics.batch_statistics import batch_statistics
from gconv_gan.runtime.latents import draw_labels, draw_latents
from gconv_gan.runtime.modes import evaluating
from gconv_gan.runtime.precision import float32_arithmetic
from gconv_gan.runtime.random import Stream

BLOCK = 256
EXTENSIONS = (".png", ".jpg", ".jpeg")


@runtime_checkable
class ImageSource(Protocol):
    """``len(source)`` images; ``source.block(i)`` returns those numbered [256·i, 256·(i+1)), as bytes [b, 3, h, w]."""

    def __len__(self) -> int: ...

    def block(self, index: int) -> UInt8[Tensor, "b 3 h w"]: ...


@runtime_checkable
class StoredImages(Protocol):
    """Images that exist before they are asked for: they can be taken in any order, and ``fingerprint`` identifies their content."""

    fingerprint: str

    def __len__(self) -> int: ...

    def block(self, index: int) -> UInt8[Tensor, "b 3 h w"]: ...

    def take(self, indices: Sequence[int]) -> UInt8[Tensor, "b 3 h w"]: ...


def block_range(index: int, count: int) -> range:
    """Return the numbers of the images of block ``index`` among ``count``."""
    return range(BLOCK * index, min(BLOCK * (index + 1), count))


class ArrayImages:
    """Images held as bytes [n, 3, h, w], in memory or in a memory map; ``fingerprint`` identifies their content."""

    def __init__(self, images: UInt8[np.ndarray, "n 3 h w"] | DecodedImages, *, fingerprint: str) -> None:
        self.images, self.fingerprint = images, fingerprint

    def __len__(self) -> int:
        return len(self.images)

    def block(self, index: int) -> UInt8[Tensor, "b 3 h w"]:
        return self.take(block_range(index, len(self)))

    def take(self, indices: Sequence[int]) -> UInt8[Tensor, "b 3 h w"]:
        return torch.from_numpy(self.images[np.asarray(indices, dtype=np.int64)])  # a copy: a memory map is read-only


class ImageFiles:
    """PNG and JPEG files under a folder or in a zip, with all sub-folders, in the order of their sorted names.

    Args:
        path: the folder or zip.
        prefix: only names that begin with this, such as "train/".
        memory: a folder that remembers the content hash of unchanged files, so that they are read once.

    Raises:
        UserError: where there are no images, or one is damaged, not square, or of another size than the first (it is named).

    """

    def __init__(self, path: Path, *, prefix: str = "", memory: Path) -> None:
        self.path = path
        if path.is_dir():
            self.archive = None
            found = [file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()]
        elif zipfile.is_zipfile(path):
            self.archive = zipfile.ZipFile(path)
            found = [entry.filename for entry in self.archive.infolist() if not entry.is_dir()]
        elif not path.exists():
            raise UserError(does_not_exist(path))
        else:
            raise UserError(f"{path} is neither a folder nor a zip of images")
        wanted = (name for name in found if name.startswith(prefix) and name.lower().endswith(EXTENSIONS))
        self.names = sorted(name for name in wanted if not _is_hidden(name))
        if not self.names:
            below = f" below {prefix}" if prefix else ""
            raise UserError(f"{path} holds no images{below} ({', '.join(EXTENSIONS)})")
        files = [(name, path / name) for name in self.names] if self.archive is None else [("", path)]
        self.fingerprint = content_hash(files, memory=memory) + (f" {prefix}" if prefix else "")
        self.size = self._open(self.names[0]).size

    def __len__(self) -> int:
        return len(self.names)

    def block(self, index: int) -> UInt8[Tensor, "b 3 h w"]:
        return self.take(block_range(index, len(self)))

    def take(self, indices: Sequence[int]) -> UInt8[Tensor, "b 3 h w"]:
        return torch.stack([self._pixels(self.names[index]) for index in indices])

    def _open(self, name: str) -> Image.Image:
        data = self.archive.read(name) if self.archive is not None else (self.path / name).read_bytes()
        try:
            return Image.open(io.BytesIO(data))
        except OSError as error:
            raise UserError(f"{self.path}: {name} is not an image that can be read: {error}") from error

    def _pixels(self, name: str) -> UInt8[Tensor, "3 h w"]:
        image = self._open(name)
        width, height = image.size
        if image.size != self.size:
            first = f"{self.names[0]} has {self.size[0]}x{self.size[1]}"
            raise UserError(f"{self.path}: {name} has {width}x{height} pixels but {first}: bring them to one size first")
        if width != height:
            raise UserError(f"{self.path}: {name} has {width}x{height} pixels: only square images are scored; crop them first")
        try:
            return torch.from_numpy(np.array(standardise(image, size=width)))
        except (DamagedImageError, OSError, SyntaxError) as error:
            raise UserError(f"{self.path}: {name} is damaged: {error}") from error


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


class ChosenImages:
    """``count`` of the images of ``source``, chosen at random by (seed, "eval_choice") and kept in their order.

    ``key`` is the flag or config key that asks for so many.

    Raises:
        UserError: where ``source`` has fewer.

    """

    def __init__(self, source: StoredImages, count: int, *, seed: int, key: str = "their number") -> None:
        if count > len(source):
            raise UserError(f"{count} images are asked for, but there are only {len(source)}: set {key} to at most that")
        self.source = source
        order = Stream(seed, "eval_choice").permutation(0, len(source))
        self.indices: list[int] = order[:count].sort().values.tolist()
        self.choice = f"{count} of {len(source)}, seed {seed}"
        self.fingerprint = source.fingerprint if count == len(source) else f"{source.fingerprint} ({self.choice})"

    def __len__(self) -> int:
        return len(self.indices)

    def block(self, index: int) -> UInt8[Tensor, "b 3 h w"]:
        return self.take(block_range(index, len(self)))

    def take(self, indices: Sequence[int]) -> UInt8[Tensor, "b 3 h w"]:
        return self.source.take([self.indices[index] for index in indices])


class FakeSource:
    """``count`` images of a generator in eval mode: image i is a function of (seed, i) and the weights alone.

    Latents come from (seed, "eval", i), labels from (seed, "eval_labels", i).

    Args:
        generator: ``generator(z, y)`` with ``latent_dim`` and ``num_classes``; y is None where ``num_classes`` is.
        count: number of images.
        seed: of latents and labels.
        device: where the generator lives.
        class_counts: draw labels with these relative frequencies; None: uniform over the classes.
        batch_size: images per call, at most 256, which changes them by float round-off alone; None: 32 on a CPU, whose caches
            hold no more, else 256.
        threshold: truncation of the latents, see ``draw_latents``; None: normal latents.
        statistics_batch: normalise by the statistics of batches of this size, a divisor of 256, which are always whole: image i
            then depends on its batch as well, but still on no other choice. None: by the running statistics.

    Raises:
        ValueError: for frequencies that do not fit the generator's classes, or another size of batches.
        UserError: (from ``block``) for images that are not finite.

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
        usual = 32 if torch.device(device).type == "cpu" else BLOCK
        self.batch_size, self.by_batch = statistics_batch or batch_size or usual, statistics_batch is not None

    @property
    def labels(self) -> str:
        """Which labels are drawn, for the score card: "none", "uniform" or "empirical"."""
        if self.num_classes is None:
            return "none"
        return "uniform" if self.class_counts is None else "empirical"

    def __len__(self) -> int:
        return self.count

    @torch.no_grad()
    def block(self, index: int) -> UInt8[Tensor, "b 3 h w"]:
        numbers = block_range(index, self.count)
        z = draw_latents(self.seed, "eval", self._whole(index), latent_dim=self.latent_dim, threshold=self.threshold)
        y = self._labels(index)
        batches = []
        mode = batch_statistics(self.generator) if self.by_batch else evaluating(self.generator)
        with mode, float32_arithmetic(torch.device(self.device)):
            for start in range(0, len(numbers), self.batch_size):
                # always a whole batch: at another size a convolution may round differently
                rows = slice(start, start + self.batch_size)
                images = self.generator(z[rows], None if y is None else y[rows])[: len(numbers) - start]
                if not (finite := torch.isfinite(images).flatten(1).all(1)).all():
                    first = numbers.start + start + int((~finite).nonzero()[0].item())
                    raise UserError(f"generated image {first} holds values that are not finite: the generator has diverged")
                batches.append(quantise(images))
        return torch.cat(batches)

    def block_labels(self, index: int) -> Int[Tensor, " b"] | None:
        """Return the labels of the images of a block; None without classes."""
        labels = self._labels(index)
        return None if labels is None else labels[: len(block_range(index, self.count))].cpu()

    def _labels(self, index: int) -> Int[Tensor, " b"] | None:
        """Return the labels of a whole block of 256."""
        if self.num_classes is None:
            return None
        if self.class_counts is None:
            return draw_labels(self.seed, "eval_labels", self._whole(index), num_classes=self.num_classes)
        ends = torch.tensor(self.class_counts, device=self.device).cumsum(0)
        # a place in the row of all images, sorted by class
        place = draw_labels(self.seed, "eval_labels", self._whole(index), num_classes=sum(self.class_counts))
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
