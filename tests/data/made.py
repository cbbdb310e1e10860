"""Small generated pictures and data sets."""

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from gconv_gan.data.image_dataset import ImageDataset, Manifest
from gconv_gan.data.sources.official import OfficialFile
from tests.data.web import Web


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save(path: Path, pixels: np.ndarray) -> Path:
    """Save pixels [H, W, 3] or [H, W] in the format of the file's name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def zipped(folder: Path, archive: Path, *, under: str = "") -> Path:
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            file.write(path, under + path.relative_to(folder).as_posix())
    return archive


def in_memory(images: np.ndarray, labels: list[int] | None, classes: tuple[str, ...]) -> ImageDataset:
    """Return a data set that never was on disk."""
    manifest = Manifest(
        title="made",
        kind="folder",
        location="memory",
        split=None,
        size=images.shape[-1],
        count=len(images),
        classes=classes,
        class_counts=tuple((labels or []).count(i) for i in range(len(classes))),
        formats={},
        recipe="none",
        source_hash="",
        content_hash="",
        skipped=(),
        pillow="",
    )
    return ImageDataset(images, None if labels is None else np.array(labels, dtype=np.int64), manifest, Path("nowhere"))


def encoded(pixels: np.ndarray, file_format: str) -> bytes:
    """Return pixels [H, W, 3] or [H, W] as a picture file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, file_format)
    return buffer.getvalue()


def md5_of(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def official_file(web: Web, name: str) -> OfficialFile:
    """Return what is served as ``name``, with its true sum."""
    path = web.folder / name
    return OfficialFile(name, f"{web.url}/{name}", f"md5:{md5_of(path)}", path.stat().st_size)
