"""``manifest.json``: the arguments and the hash of every picture of a gallery, with which each can be drawn again and verified.

An entry names the kind of picture, its seed and parameters, and the hash of the generator's weights it was drawn from, beside
the SHA-256 of the file. Drawing it again from the same weights with the same library versions gives the same bytes.
"""

import hashlib
import json
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gconv_gan.config.errors import UserError

MANIFEST = "manifest.json"
FORMAT = 1  # version of the manifest's layout
LIBRARIES = ("torch", "numpy", "pillow", "matplotlib")  # the bytes of a picture depend on their versions


@dataclass(frozen=True)
class Entry:
    """One file of the gallery."""

    file: str
    """Name inside the gallery's folder."""
    kind: str
    """Row of the table of pictures that draws it."""
    seed: int
    """Seed of its latents and labels."""
    parameters: dict[str, Any]
    """Keyword arguments of the drawing function."""
    checkpoint: str
    """SHA-256 of the generator's weights file."""
    sha256: str
    """SHA-256 of the file."""
    title: str
    """What it shows."""
    facts: dict[str, str]
    """Numbers that belong to the picture."""


@dataclass(frozen=True)
class Manifest:
    """All files of a gallery, with the run and the library versions they were drawn with."""

    run: dict[str, Any]
    versions: dict[str, str]
    pictures: tuple[Entry, ...]


def sha256(content: bytes) -> str:
    """Return the hexadecimal SHA-256."""
    return hashlib.sha256(content).hexdigest()


def library_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries on which the bytes of a picture depend."""
    return {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}


def manifest_json(manifest: Manifest) -> bytes:
    """Return the manifest as JSON."""
    return (json.dumps({"format": FORMAT, **asdict(manifest)}, indent=1, ensure_ascii=False) + "\n").encode()


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a gallery's folder.

    Raises:
        UserError: if there is none, or it is not a manifest of this format.

    """
    path = folder / MANIFEST
    if not path.is_file():
        raise UserError(f"{folder} is not a gallery: it has no {MANIFEST}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise UserError(f"{path} has format {content['format']}, but this version reads format {FORMAT}: build the gallery again")
        manifest = Manifest(content["run"], content["versions"], tuple(Entry(**entry) for entry in content["pictures"]))
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}): build the gallery again") from error
    outside = [entry.file for entry in manifest.pictures if Path(entry.file).name != entry.file]
    if outside:
        raise UserError(f"{path} names {outside[0]!r}, which is not a file of its own folder: build the gallery again")
    return manifest
