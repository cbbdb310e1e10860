"""One-time conversion to uint8 arrays on disk, memory-mapped by every process of every later run.

``cache_dir/<kind>-<key>/`` holds ``images.npy`` uint8 [N, 3, S, S], ``labels.npy`` int64 [N] (labelled sets only) and
``manifest.json``. The key is a hash of the source's content and of the recipe: changed data, another split or another size give
another folder, so that a stale conversion is never used. A folder is written atomically; a lock lets one process convert while the
others wait.

With ``storage = "encoded"`` every picture is decoded once in the same way and not stored: the folder holds, instead of ``images.npy``,
``kept.npy`` int64 [N], the indices of the source's pictures in the set. Manifest and content hash are still those of the pixels, and a
run may resume with the other storage.

Every start checks manifest, shapes, and exact file sizes. ``verify=True`` also hashes every byte.
"""

import hashlib
import io
import json
import logging
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import PIL
from jaxtyping import Int64, Shaped, UInt8
from tqdm import tqdm

from gconv_gan.config.errors import AbsentDataError, FullDiskError, UserError
from gconv_gan.config.sections.data import DataConfig
from gconv_gan.data.datasets import source_of
from gconv_gan.data.image_dataset import ImageDataset, Manifest, SkippedImage
from gconv_gan.data.reading.decoded_images import DecodedImages
from gconv_gan.data.reading.decoding import decoded
from gconv_gan.data.reading.pictures import DamagedImageError
from gconv_gan.data.sources.cifar import CIFAR10_CLASSES
from gconv_gan.data.sources.source import Entry, Source
from gconv_gan.runtime.files.atomic import new_folder
from gconv_gan.runtime.files.locking import exclusive

log = logging.getLogger(__name__)


def open_dataset(config: DataConfig, *, progress: bool = True, notes: bool = True, verify: bool = False) -> ImageDataset:
    """Return the data set of ``config``, converting it first where the cache lacks it.

    Args:
        config: data set, split, size, and folder of the cache.
        progress: show a progress bar while converting, on a terminal, and log which files are left out: in full when they are converted,
            later how many images and where they are listed.
        notes: log that; False: the caller says it.
        verify: hash the stored arrays instead of only comparing their sizes.

    Raises:
        UserError: the data are absent or unreadable; an image is damaged and may not be skipped; the data change during conversion.
        OSError: the cache cannot be written.
        FullDiskError: there is not enough space.

    """
    source = source_of(config)
    key = hashlib.sha256(json.dumps([source.fingerprint, source.recipe]).encode()).hexdigest()
    place = Path(config.cache_dir) / (f"{source.kind}-{key[:20]}" + ("" if source.storage == "pixels" else f"-{source.storage}"))
    dataset, converted = _stored(place, source, verify=verify), False
    if dataset is None:
        with exclusive(place.with_name(f".{place.name}.lock"), purpose=f"converting {source.location}"):
            dataset = _stored(place, source, verify=verify)  # another process may have converted it while this one waited
            if dataset is None:
                converted = True
                _build(source, config, place, progress=progress)
                dataset = _stored(place, source, verify=verify and source.storage == "pixels")  # encoded pictures were just decoded
    if dataset is None:
        raise UserError(f"the cache {place} was changed or damaged while it was opened; run the command again")
    if source.left_out is not None:
        manifest = dataset.manifest.model_copy(update={"left_out": source.left_out()})
        dataset = replace(dataset, manifest=manifest)
    skipped = dataset.manifest.skipped
    if skipped and not source.may_skip:
        raise _damaged(source.location, skipped[0], others=len(skipped) - 1)
    if progress and notes:
        _note(dataset, source, place / "manifest.json", in_full=converted)
    return dataset


def _note(dataset: ImageDataset, source: Source, listed: Path, *, in_full: bool) -> None:
    """Log which files of the source are left out of ``dataset``: in full, or how many images and where ``listed`` has them."""
    manifest = dataset.manifest
    images = f"{len(manifest.skipped)} of {len(manifest.skipped) + manifest.count} images" if manifest.skipped else ""
    if in_full and manifest.left_out:
        log.warning("%s: %s", source.location, manifest.left_out)
    if images and (in_full or not manifest.left_out):
        log.warning("%s: %s cannot be used and are left out, see %s", source.location, images, listed)
    elif manifest.left_out and not in_full:
        log.warning("%s: %sother files are left out, see %s", source.location, f"{images} and " if images else "", listed)


def open_without_fetching(config: DataConfig) -> ImageDataset | None:
    """Return what ``open_dataset`` returns, without its notes, or None if ``data.download`` would have to download the data first."""
    if not getattr(config, "download", False):
        return open_dataset(config, notes=False)
    try:
        return open_dataset(config.model_copy(update={"download": False}), notes=False)
    except AbsentDataError:
        return None


def _damaged(location: str, image: SkippedImage, *, others: int = 0) -> UserError:
    """Return the error for a set with the damaged ``image`` and, if their number is known, ``others``."""
    more = f", one of {others + 1} such images" if others else ""
    return UserError(
        f"{location}: {image.name} cannot be used ({image.reason}){more}; "
        f'replace {"them" if others else "it"}, or set data.damaged = "skip" to leave such images out and list them in the manifest'
    )


# --- reading ---------------------------------------------------------------------------------------------------------------------


def _stored(place: Path, source: Source, *, verify: bool) -> ImageDataset | None:
    """Return the data set stored at ``place``; None if there is none, or a damaged one, which is logged."""
    if not place.is_dir():
        return None
    try:
        manifest = Manifest.model_validate_json((place / "manifest.json").read_bytes())
        images: UInt8[np.ndarray, "n 3 s s"] | DecodedImages
        if source.storage == "pixels":
            images = _mapped(place / "images.npy", np.uint8, (manifest.count, 3, manifest.size, manifest.size))
        else:
            kept = np.array(_mapped(place / "kept.npy", np.int64, (manifest.count,)))
            images = DecodedImages(source.open().entries, kept, size=manifest.size, location=source.location)
        labels = np.array(_mapped(place / "labels.npy", np.int64, (manifest.count,))) if manifest.classes else None
        if verify:
            _verify(images, labels, manifest)
    except (FileNotFoundError, EOFError, ValueError) as error:
        log.warning("the cache %s is damaged (%s) and will be built again", place, " ".join(str(error).split()))
        return None
    return ImageDataset(images, labels, manifest, place, window=source.window)


def _mapped(path: Path, dtype: type[np.generic], shape: tuple[int, ...]) -> Shaped[np.ndarray, "..."]:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.dtype != dtype or array.shape != shape:
        raise ValueError(f"{path.name} holds {array.dtype} {array.shape}, the manifest says {dtype.__name__} {shape}")
    if path.stat().st_size != array.offset + array.nbytes:
        raise ValueError(f"{path.name} has {path.stat().st_size} bytes, expected {array.offset + array.nbytes}")
    return np.asarray(array)


def _verify(images: UInt8[np.ndarray, "n 3 s s"] | DecodedImages, labels: Int64[np.ndarray, " n"] | None, manifest: Manifest) -> None:
    digest = hashlib.sha256()
    for start in range(0, len(images), 1024):
        digest.update(images[start : start + 1024].tobytes())
    if content_hash(digest.digest(), manifest.size, labels, manifest.classes) != manifest.content_hash:
        raise ValueError("its arrays do not have the hash of the manifest")


def content_hash(pixels: bytes, size: int, labels: Int64[np.ndarray, " n"] | None, classes: tuple[str, ...]) -> str:
    """Return SHA-256 of (SHA-256 of the images' bytes, their side, labels, class names)."""
    rest = json.dumps([size, classes, None if labels is None else labels.tolist()])
    return hashlib.sha256(pixels + rest.encode()).hexdigest()


# --- writing ---------------------------------------------------------------------------------------------------------------------


def _build(source: Source, config: DataConfig, place: Path, *, progress: bool) -> None:
    """Convert ``source`` into the new folder ``place``, replacing a damaged one."""
    pictures = source.open()
    _require_room(source, len(pictures.entries), place)
    shutil.rmtree(place, ignore_errors=True)
    with new_folder(place) as folder:
        if source.storage == "pixels":
            with (folder / "images.npy").open("wb") as file:
                done = _write_images(file, pictures.entries, source, progress=progress)
        else:
            done = _convert(pictures.entries, source, lambda _: None, progress=progress)
            _save(folder / "kept.npy", np.array(done.kept, dtype=np.int64))
        labels = np.array(done.labels, dtype=np.int64) if pictures.classes else None
        if labels is not None:
            _save(folder / "labels.npy", labels)
        manifest = Manifest(
            title=_title(source, pictures.classes, done.formats),
            kind=source.kind,
            location=source.location,
            split=source.split,
            size=source.size,
            count=done.count,
            classes=pictures.classes,
            class_counts=tuple(np.bincount(done.labels, minlength=len(pictures.classes)).tolist()) if pictures.classes else (),
            formats=done.formats,
            recipe=source.recipe,
            source_hash=source.fingerprint,
            content_hash=content_hash(done.digest.digest(), source.size, labels, pictures.classes),
            skipped=tuple(done.skipped),
            left_out=pictures.left_out,
            shards=_kept_shards(pictures.shards, done.kept),
            pillow=PIL.__version__,
        )
        (folder / "manifest.json").write_text(manifest.model_dump_json(indent=2) + "\n")
        if source_of(config).fingerprint != source.fingerprint:
            raise UserError(f"{source.location} changed while it was converted; run the command again when the data are complete")


def _save(path: Path, array: Int64[np.ndarray, " n"]) -> None:
    """Write an .npy file; NumPy's own writer loses the error number of a full disk."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    path.write_bytes(buffer.getvalue())


def _kept_shards(shards: tuple[int, ...], kept: list[int]) -> tuple[int, ...]:
    """Return the number of used pictures of each shard."""
    ends = np.searchsorted(kept, np.cumsum([0, *shards]))
    return tuple(np.diff(ends).tolist())


@dataclass
class _Conversion:
    """Counts of a conversion in progress."""

    kept: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    formats: dict[str, int] = field(default_factory=dict)
    skipped: list[SkippedImage] = field(default_factory=list)
    digest: Any = field(default_factory=hashlib.sha256)

    @property
    def count(self) -> int:
        """Number of converted images."""
        return len(self.kept)


def _require_room(source: Source, count: int, place: Path) -> None:
    """Log the disk space that the conversion needs, and check that it is free.

    Raises:
        FullDiskError: the file system of the cache has less free space.

    """
    needed = count * (16 + (3 * source.size**2 if source.storage == "pixels" else 0))
    place.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(place.parent).free
    sizes = f"{count:,} images of {source.size}×{source.size} need {_gib(needed)} in {place.parent}, where {_gib(free)} are free"
    log.info("converting %s: %s", source.location, sizes)
    if needed > free:
        raise FullDiskError(
            f"data.cache_dir: {source.title}: {sizes}; choose another folder, a smaller data.size, "
            'or data.storage = "encoded" where the set has it'
        )


def _gib(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB"


def _write_images(file: BinaryIO, entries: Sequence[Entry], source: Source, *, progress: bool) -> _Conversion:
    """A sequential writer of an .npy file; a write through a memory map would kill the process on a full disk instead of raising."""
    _write_header(file, len(entries), source.size)
    start = file.tell()
    done = _convert(entries, source, file.write, progress=progress)
    file.seek(0)
    _write_header(file, done.count, source.size)
    assert file.tell() == start, "NumPy pads the header so that the number of images may change"
    return done


def _convert(entries: Sequence[Entry], source: Source, write: Callable[[bytes], object], *, progress: bool) -> _Conversion:
    """Decode every picture, in order, and call ``write`` with the pixels of each valid one.

    Raises:
        UserError: a picture is damaged and may not be left out, or all are damaged.

    """
    done = _Conversion()
    hidden = not (progress and sys.stderr.isatty())
    bar = tqdm(decoded(entries), total=len(entries), unit=" images", desc=f"converting {source.kind}", disable=hidden)
    for i, (entry, outcome) in enumerate(bar):
        if isinstance(outcome, DamagedImageError):
            done.skipped.append(SkippedImage(name=entry.name, reason=str(outcome)))
            if not source.may_skip:
                raise _damaged(source.location, done.skipped[-1]) from outcome
            continue
        picture, file_format = outcome
        pixels = picture.tobytes()
        done.digest.update(pixels)
        write(pixels)
        done.kept.append(i)
        done.formats[file_format] = done.formats.get(file_format, 0) + 1
        if entry.label is not None:
            done.labels.append(entry.label)
    if done.count == 0:
        raise UserError(
            f"{source.location}: none of {len(done.skipped)} images can be used, first {done.skipped[0].name} ({done.skipped[0].reason})"
        )
    return done


def _write_header(file: BinaryIO, count: int, size: int) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (count, 3, size, size)})


def _title(source: Source, classes: tuple[str, ...], formats: dict[str, int]) -> str:
    """Return the title of the data: class folders named as CIFAR-10's are a copy of it; a JPEG copy has other pixels."""
    if source.kind == "folder" and classes == CIFAR10_CLASSES and source.size == 32:
        return "CIFAR-10 (JPEG copy)" if "JPEG" in formats else "CIFAR-10 (copy)"
    return source.title
