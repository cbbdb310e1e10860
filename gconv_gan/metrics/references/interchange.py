"""Statistics files of torch-fidelity and clean-fid, read and written under the names by which those tools find them.

torch-fidelity keeps ``NAME-EXTRACTOR-stat-fid-LAYER.pt``, a dict of NumPy arrays ``mu`` [d] (float32) and ``sigma`` [d, d] (float64),
and ``NAME-EXTRACTOR-features-LAYER.pt``, a tensor [n, d], in its ``cache_root``. clean-fid keeps ``name_MODE_custom_na.npz`` with
``mu`` and ``sigma``, and ``name_MODE_custom_na_kid.npz`` with ``feats`` [n, d], in the folder ``stats`` of its package; stylegan3's
and StudioGAN's .npz hold ``mu`` and ``sigma`` too. Checked against torch-fidelity 0.4.0 and clean-fid 0.1.35.

Such a file records neither its images nor, for moments alone, their number. The card says so, and has the hash of the file as
the fingerprint of the reference. Loading a file never runs code from it.
"""

import io
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from gconv_gan.config.errors import UserError
from gconv_gan.metrics.extractors.inception import Extractor
from gconv_gan.metrics.extractors.weights import CLIP, DINOV2, sha256_of
from gconv_gan.metrics.references.reference_statistics import ReferenceStatistics
from gconv_gan.metrics.score_card import ReferenceCard, extractor_card
from gconv_gan.metrics.statistics import Moments, moments_of
from gconv_gan.runtime.files.atomic import write_bytes

Tool = Literal["torch_fidelity", "clean_fid"]
SUFFIXES = (".pt", ".npz")
# clean-fid's mode and torch-fidelity's extractor, by the resizer of our Inception.
MODES = {
    "pil_bicubic 299": "clean",
    "clean_fid 299": "clean",
    "tf1_bilinear 299": "legacy_tensorflow",
    "torch_bilinear 299": "legacy_pytorch",
}
TORCH_FIDELITY_INCEPTION = "inception-v3-compat"


def clean_fid_mode(extractor: Extractor) -> str | None:
    """Return the mode of clean-fid with the preprocessing of ``extractor``; None if there is none."""
    return MODES.get(extractor.resizer) if extractor.is_inception else None


def torch_fidelity_name(extractor: Extractor) -> str | None:
    """Return torch-fidelity's name of ``extractor``; None if it has no such extractor."""
    if extractor.is_inception:
        return TORCH_FIDELITY_INCEPTION if extractor.resizer == "tf1_bilinear 299" else None
    model = extractor.name.split(" ")[0]
    return model if model in DINOV2 or model in CLIP else None


# --- reading ---------------------------------------------------------------------------------------------------------------------


def import_statistics(path: Path, extractor: Extractor, *, count: int | None) -> ReferenceStatistics:
    """Return another tool's statistics as a reference for features of ``extractor``.

    Args:
        path: a .pt or .npz file of moments, or of features.
        extractor: the network; a file whose name states another one is refused.
        count: number of images of the moments, if it is known; features are counted.

    Raises:
        UserError: the file holds other data, has another number of features, or is of another extractor.

    """
    _check_name(path, extractor)
    held = _read_npz(path) if path.suffix == ".npz" else _read_pt(path)
    features = _features(held)
    if features is None:
        moments = _moments(held, path)
    else:
        moments, count = moments_of(features), len(features)
    if moments.mean.numel() != extractor.feature_dim:
        raise UserError(f"{path} has {moments.mean.numel()} features, but {extractor.name} has {extractor.feature_dim}")
    card = ReferenceCard(
        source=path.name, fingerprint=f"file {sha256_of(path)}", split=None, recipe="read from another tool's statistics", images_sha256=""
    )
    return ReferenceStatistics(Moments(count, moments.mean, moments.covariance), features, card, extractor_card(extractor))


def _check_name(path: Path, extractor: Extractor) -> None:
    """Raise ``UserError`` if the name of a file states another extractor."""
    mode = re.search(r"_(clean|legacy_tensorflow|legacy_pytorch)(_clip_\w+?)?_[a-z]+_(\d+|na)(_kid)?\.npz$", path.name)
    network = re.search(r"-(inception-v3-compat|vgg16|clip-[\w-]+?|dinov2-[\w-]+?)-(stat-fid|features)-[\w-]+\.pt$", path.name)
    if mode and (mode.group(2) or mode.group(1) != clean_fid_mode(extractor)):
        raise UserError(
            f"{path.name} is by clean-fid's mode {mode.group(1)}{mode.group(2) or ''}, not by {extractor.name} ({extractor.resizer})"
        )
    if network and network.group(1) != torch_fidelity_name(extractor):
        raise UserError(f"{path.name} is by torch-fidelity's {network.group(1)}, not by {extractor.name} ({extractor.resizer})")


def _read_npz(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as held:
            return {name: held[name] for name in held.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is not a file of arrays: {error}") from error


def _read_pt(path: Path) -> dict[str, Any]:
    core = np._core.multiarray  # type: ignore[attr-defined]
    plain = [np.ndarray, np.dtype, type(np.dtype("float32")), type(np.dtype("float64"))]
    rebuild = [(core._reconstruct, f"{package}.multiarray._reconstruct") for package in ("numpy.core", "numpy._core")]
    try:
        with torch.serialization.safe_globals([*plain, *rebuild]):
            held = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(f"{path} is not a file of statistics: {str(error).splitlines()[0]}") from error
    return {"feats": held} if isinstance(held, Tensor) else dict(held) if isinstance(held, dict) else {}


def _features(held: dict[str, Any]) -> Tensor | None:
    if "feats" not in held:
        return None
    features = torch.as_tensor(held["feats"]).float()
    return features if features.ndim == 2 else None


def _moments(held: dict[str, Any], path: Path) -> Moments:
    try:
        mean, covariance = (torch.as_tensor(held[name]).double() for name in ("mu", "sigma"))
    except KeyError as error:
        raise UserError(f"{path} holds {sorted(held)}, but statistics are mu and sigma, or feats [n, d]") from error
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        raise UserError(f"{path}: mu {tuple(mean.shape)} and sigma {tuple(covariance.shape)} are not a mean [d] and a covariance [d, d]")
    if not (torch.isfinite(mean).all() and torch.isfinite(covariance).all()):
        raise UserError(f"{path} holds values that are not finite")
    return Moments(None, mean, (covariance + covariance.T) / 2)


# --- writing ---------------------------------------------------------------------------------------------------------------------


def export_statistics(tool: Tool, folder: Path, name: str, statistics: ReferenceStatistics, extractor: Extractor) -> list[Path]:
    """Write ``statistics`` for another tool, which finds them by ``name``, and return the files.

    torch-fidelity: ``calculate_metrics(…, input2_cache_name=name, cache_root=folder)``; clean-fid, with ``folder`` the ``stats`` of
    its package: ``compute_fid(…, dataset_name=name, dataset_split="custom")``.

    Args:
        tool: the other tool.
        folder: folder of the files.
        name: name of the statistics; clean-fid accepts lower case only.
        statistics: moments and, if they are kept, features.
        extractor: the network of the statistics.

    Raises:
        UserError: the tool has no such extractor, or a file of that name exists.

    """
    mean, covariance = statistics.moments.mean.cpu().numpy(), statistics.moments.covariance.cpu().numpy()
    features = None if statistics.features is None else statistics.features.cpu()
    known = torch_fidelity_name(extractor) if tool == "torch_fidelity" else clean_fid_mode(extractor)
    if known is None:
        raise UserError(f"{tool} has no extractor like {extractor.name} ({extractor.resizer}), so it cannot use its statistics")
    if tool == "torch_fidelity":
        moments_file = folder / f"{name}-{known}-stat-fid-{extractor.layer}.pt"
        features_file = folder / f"{name}-{known}-features-{extractor.layer}.pt"
    else:
        moments_file, features_file = (folder / f"{name}_{known}_custom_na{end}.npz".lower() for end in ("", "_kid"))
    wanted = [moments_file] if features is None else [moments_file, features_file]
    if taken := [path for path in wanted if path.exists()]:
        raise UserError(f"{taken[0]} exists: give another --name, since {tool} identifies statistics by their name alone")
    folder.mkdir(parents=True, exist_ok=True)
    if tool == "torch_fidelity":
        contents = [_torch_file({"mu": mean.astype(np.float32), "sigma": covariance})]  # the types that torch-fidelity expects
        if features is not None:
            contents.append(_torch_file(features))
    else:
        contents = [_numpy_file(mu=mean, sigma=covariance)]
        if features is not None:
            contents.append(_numpy_file(feats=features.numpy()))
    for path, content in zip(wanted, contents, strict=True):
        write_bytes(path, content)
    return wanted


def _torch_file(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _numpy_file(**arrays: Shaped[np.ndarray, "..."]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()
