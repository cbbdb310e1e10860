"""Construction of extractors from their names on the command line and in protocols."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args, get_origin

import torch

from gconv_gan.config.errors import UserError
from gconv_gan.config.hints import did_you_mean
from gconv_gan.config.schema import give, takes
from gconv_gan.metrics.extractors.inception import Extractor
from gconv_gan.metrics.extractors.weights import fetch_weights
from gconv_gan.metrics.protocols import family
from gconv_gan.metrics.tables import EXTRACTORS


def known_extractors() -> list[str]:
    """Return the names of all extractors with their variants: "inception", "inception:clean", …, "checkpoint:PATH"."""
    return [name for kind in EXTRACTORS for name in _variants(kind) or (f"{kind}:PATH",)]


def _variants(kind: str) -> tuple[str, ...]:
    """Return the names of a row: the choices of its keyword ``name``, or its kind; none if it accepts any name."""
    row = EXTRACTORS[kind]
    if not takes(row, "name"):
        return (kind,)
    hint = inspect.signature(row, eval_str=True).parameters["name"].annotation
    return get_args(hint) if get_origin(hint) is Literal else ()


def extractor(name: str, *, weights: Path | None = None, device: torch.device | str = "cpu") -> Extractor:
    """Return the extractor called ``name``, a row of ``EXTRACTORS`` or a variant of one.

    Args:
        name: with "checkpoint:", the rest is the path of the classifier's folder.
        weights: a file of the extractor's format; a file other than the published one is accepted and called unofficial on every card.
        device: device of the extractor.

    Raises:
        UserError: the name is unknown, weights are missing, ``weights`` is given to an extractor without weights, or the row returns no
            extractor.

    """
    kind = family(name)
    if kind not in EXTRACTORS or name not in (_variants(kind) or (name,)):
        known = known_extractors()
        raise UserError(f"there is no extractor {name!r}; known are {', '.join(known)}{did_you_mean(name, known)}")
    if weights is not None and not takes_weights(name):
        raise UserError(f"--weights is a file of Inception, DINOv2 or CLIP weights; the extractor {name} takes none")
    given = {"name": name, "device": device} | ({} if weights is None else {"weights": weights})
    made = give(EXTRACTORS[kind], **given)()
    if not isinstance(made, Extractor):
        raise UserError(f"{name} does not have the attributes of an extractor: see Extractor in gconv_gan/metrics/extractors/inception.py")
    return made


def takes_weights(name: str) -> bool:
    """Whether the extractor called ``name`` reads a file of weights."""
    return family(name) in EXTRACTORS and takes(EXTRACTORS[family(name)], "weights")


def build_extractors(
    names: Sequence[str], *, weights: Path | None = None, download: bool = False, device: torch.device | str = "cpu"
) -> dict[str, Extractor]:
    """Return each extractor once, under its name; ``weights`` is passed to those that take a file.

    With ``download`` the published weights are fetched first where they are missing, unless ``weights`` are given.

    Raises:
        UserError: as ``extractor``, or none of them takes ``weights``.

    """
    if download and weights is None:
        for name in dict.fromkeys(names):
            fetch_weights(name)
    some_take_it = any(takes_weights(name) for name in names)
    return {
        name: extractor(name, weights=weights if takes_weights(name) or not some_take_it else None, device=device)
        for name in dict.fromkeys(names)
    }
