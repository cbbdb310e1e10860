"""From the name of an extractor, as the command line and the protocols write it, to the extractor."""

from collections.abc import Sequence
from pathlib import Path

import torch

from gconv_gan.config.errors import UserError
from gconv_gan.metrics.extractors import CheckpointExtractor, EfficientNetLite0Extractor, Extractor, InceptionExtractor
from gconv_gan.metrics.weights import INCEPTION

EXTRACTORS = {
    "inception": "torch-fidelity's pipeline (TensorFlow 1 bilinear): the standard",
    "inception:clean": "clean-fid's (PIL bicubic, antialiased)",
    "inception:pytorch_fid": "pytorch-fid's (torch bilinear)",
    "efficientnet_lite0": "EfficientNet-Lite0 at 224 pixels; needs no download",
    "efficientnet_lite0:bilinear96": "the same at 96 pixels: a sixth of the work",
    "checkpoint:PATH": "a classifier trained here: the folder of its model.json",
}


def extractor(name: str, *, weights: Path | None = None, device: torch.device | str = "cpu") -> Extractor:
    """Return the extractor called ``name`` (a key of ``EXTRACTORS``).

    Args:
        name: with "checkpoint:", the rest is the path of the classifier's folder.
        weights: a file of Inception weights; one that is not the published file is taken, and named unofficial on every card.
        device: where it runs.

    Raises:
        UserError: for an unknown name, missing weights, or ``weights`` where the extractor takes none.

    """
    if weights is not None and not name.startswith("inception"):
        raise UserError(f"--weights is a file of Inception weights; the extractor {name} takes none")
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
        case ["checkpoint", path] if path:
            return CheckpointExtractor(Path(path), device=device)
        case _:
            raise UserError(f"there is no extractor {name!r}; known are {', '.join(EXTRACTORS)}")


def build_extractors(names: Sequence[str], *, weights: Path | None = None, device: torch.device | str = "cpu") -> dict[str, Extractor]:
    """Return each extractor once, under its name; ``weights`` goes to those that take a file.

    Raises:
        UserError: as ``extractor``, and where none of them takes ``weights``.

    """
    takers = [name for name in names if name.startswith("inception")]
    if weights is not None and not takers:
        raise UserError(f"--weights is a file of Inception weights; the extractor {names[0]} takes none")
    return {name: extractor(name, weights=weights if name in takers else None, device=device) for name in dict.fromkeys(names)}
