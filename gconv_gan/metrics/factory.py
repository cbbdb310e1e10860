"""From the name of an extractor, as the command line and the protocols write it, to the extractor."""

from collections.abc import Sequence
from pathlib import Path

import torch

from gconv_gan.config.errors import UserError
from gconv_gan.config.hints import did_you_mean
from gconv_gan.metrics.extractors import CheckpointExtractor, EfficientNetLite0Extractor, Extractor, InceptionExtractor
from gconv_gan.metrics.foundation_extractors import ClipExtractor, DinoV2Extractor
from gconv_gan.metrics.weights import CLIP, DINOV2, INCEPTION

EXTRACTORS = {
    "inception": "torch-fidelity's pipeline (TensorFlow 1 bilinear): the standard",
    "inception:clean": "clean-fid's (PIL bicubic, antialiased)",
    "inception:pytorch_fid": "pytorch-fid's (torch bilinear)",
    "efficientnet_lite0": "EfficientNet-Lite0 at 224 pixels; needs no download",
    "efficientnet_lite0:bilinear96": "the same at 96 pixels: a sixth of the work",
    "dinov2": "DINOv2 ViT-L/14; the smaller ones are dinov2-vit-s-14 and dinov2-vit-b-14",
    "clip": "CLIP ViT-B/32; others are clip-vit-b-16, clip-vit-l-14 and clip-rn50",
    "checkpoint:PATH": "a classifier trained here: the folder of its model.json",
}


def extractor(name: str, *, weights: Path | None = None, device: torch.device | str = "cpu") -> Extractor:
    """Return the extractor called ``name`` (a key of ``EXTRACTORS``).

    Args:
        name: with "checkpoint:", the rest is the path of the classifier's folder.
        weights: a file of the extractor's format; one that is not the published file is taken, and named unofficial on every card.
        device: where it runs.

    Raises:
        UserError: for an unknown name, missing weights, or ``weights`` where the extractor takes none.

    """
    if weights is not None and not takes_weights(name):
        raise UserError(f"--weights is a file of Inception, DINOv2 or CLIP weights; the extractor {name} takes none")
    expected = INCEPTION.sha256 if weights is None else None
    match name.split(":", 1):
        case ["inception"]:
            return InceptionExtractor(weights, expected_sha256=expected, device=device)
        case ["inception", "clean"]:
            return InceptionExtractor(weights, resizer="pil_bicubic", expected_sha256=expected, device=device)
        case ["inception", "pytorch_fid"]:
            return InceptionExtractor(weights, resizer="torch_bilinear", expected_sha256=expected, device=device)
        case ["efficientnet_lite0"]:
            return EfficientNetLite0Extractor(device=device)
        case ["efficientnet_lite0", "bilinear96"]:
            return EfficientNetLite0Extractor("bilinear96", device=device)
        case ["dinov2"]:
            return DinoV2Extractor("dinov2-vit-l-14", weights, device=device)
        case ["clip"]:
            return ClipExtractor("clip-vit-b-32", weights, device=device)
        case [model] if model in DINOV2:
            return DinoV2Extractor(model, weights, device=device)
        case [model] if model in CLIP:
            return ClipExtractor(model, weights, device=device)
        case ["checkpoint", path] if path:
            return CheckpointExtractor(Path(path), device=device)
        case _:
            raise UserError(
                f"there is no extractor {name!r}; known are {', '.join(EXTRACTORS)}{did_you_mean(name, [*EXTRACTORS, *DINOV2, *CLIP])}"
            )


def takes_weights(name: str) -> bool:
    """Whether the extractor called ``name`` reads a published file of weights."""
    return name.startswith(("inception", "dinov2", "clip"))


def build_extractors(names: Sequence[str], *, weights: Path | None = None, device: torch.device | str = "cpu") -> dict[str, Extractor]:
    """Return each extractor once, under its name; ``weights`` goes to those that take a file.

    Raises:
        UserError: as ``extractor``, and where none of them takes ``weights``.

    """
    some_take_it = any(takes_weights(name) for name in names)
    return {
        name: extractor(name, weights=weights if takes_weights(name) or not some_take_it else None, device=device)
        for name in dict.fromkeys(names)
    }
