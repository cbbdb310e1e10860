"""Checkpoints: ``checkpoint-<images>/`` with one safetensors file a part, counters as JSON, and the SHA-256 of every file.

A checkpoint is written under a temporary name, synced and renamed, so a kill at any moment leaves the previous one. The newest
one whose hashes match is loaded; a damaged one is named and skipped. Nothing that is loaded can run code.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gconv_gan.config.classifiers import ClassifierRunConfig
from gconv_gan.config.errors import UserError
from gconv_gan.config.runs import GANRunConfig
from gconv_gan.runtime.atomic import new_folder
from gconv_gan.runtime.run_folder import RunFolder, ends_with_the_run
from gconv_gan.runtime.tracking import truncate_metrics
from gconv_gan.training.best import is_marked
from gconv_gan.training.report import Report
from gconv_gan.training.state import TrainingState

HASHES = "SHA256SUMS"


def checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """Return (images, path) of every checkpoint in a run folder, newest first."""
    found = [(int(path.name.removeprefix("checkpoint-")), path) for path in folder.glob("checkpoint-*") if path.name[11:].isdigit()]
    return sorted(found, reverse=True)


def save_checkpoint(folder: Path, state: TrainingState, *, keep: int, facts: dict[str, Any]) -> Path:
    """Write ``folder/checkpoint-<images>`` and delete all but the newest ``keep`` and the best by any score."""
    path = folder / f"checkpoint-{state.progress.images_seen}"
    if path.is_dir() and damage(path) is None:
        return path
    shutil.rmtree(path, ignore_errors=True)
    with new_folder(path) as temporary:
        groups = {}
        for name, network in state.networks().items():
            save_file(_contiguous(network.state_dict()), temporary / f"{name}.safetensors")
        for name, optimizer in state.optimizers().items():
            tensors, groups[name] = _split(optimizer)
            save_file(tensors, temporary / f"{name}.safetensors")
        contents = {"progress": state.progress.as_dict(), "optimizer_groups": groups, **facts}
        (temporary / "state.json").write_text(json.dumps(contents, indent=2) + "\n")
        lines = [f"{_sha256(file)}  {file.name}\n" for file in sorted(temporary.iterdir())]
        (temporary / HASHES).write_text("".join(lines))
    kept = {images for images, _ in checkpoints(folder)[:keep]} | {state.progress.best_images}
    for images, old in checkpoints(folder):
        if images not in kept and not is_marked(folder, images):
            shutil.rmtree(old)
    return path


def damage(path: Path) -> str | None:
    """Return what is wrong with a checkpoint in one phrase, or None where every file matches its hash."""
    if not (path / HASHES).is_file():
        return f"{HASHES} is missing"
    for line in (path / HASHES).read_text().splitlines():
        expected, _, name = line.partition("  ")
        if not (path / name).is_file():
            return f"{name} is missing"
        if _sha256(path / name) != expected:
            return f"{name} does not match its SHA-256"
    return None


def newest_whole(folder: Path, report: Callable[[str], None]) -> Path | None:
    """Return the newest undamaged checkpoint of a run folder; report each damaged one that is passed over."""
    for _, path in checkpoints(folder):
        fault = damage(path)
        if fault is None:
            return path
        report(f"skipping damaged checkpoint {path}: {fault}")
    return None


def load_checkpoint(path: Path, state: TrainingState) -> dict[str, Any]:
    """Load every part of ``state`` strictly from ``path``; return the facts stored beside it.

    Raises:
        UserError: the checkpoint's tensors are not those of the networks.

    """
    contents: dict[str, Any] = json.loads((path / "state.json").read_text())
    for name, network in state.networks().items():
        load_network(path / f"{name}.safetensors", network)
    for name, optimizer in state.optimizers().items():
        _join(optimizer, load_file(path / f"{name}.safetensors"), contents["optimizer_groups"][name])
    for name, value in contents["progress"].items():
        setattr(state.progress, name, value)
    return contents


def resume(
    folder: RunFolder,
    state: TrainingState,
    facts: dict[str, Any],
    accelerator: Accelerator,
    report: Report,
    config: GANRunConfig | ClassifierRunConfig,
) -> None:
    """Load the newest whole checkpoint, if there is one; drop the metrics beyond it, which will be written again.

    Says what it does, and where nothing is left to do, how the run can be lengthened.

    Raises:
        UserError: the checkpoint was trained on other data than ``facts["data"]``, their content hash.

    """
    newest = newest_whole(folder.path, report.say)
    if newest is None:
        if checkpoints(folder.path):
            report.say(f"no checkpoint in {folder.path} is whole: training starts again at 0 images")
        if accelerator.is_main_process:
            truncate_metrics(folder.metrics, 0)
        return
    stored = load_checkpoint(newest, state)
    if stored["data"] != facts["data"]:
        raise UserError(f"{newest} was trained on other data (content hash {stored['data'][:12]}…, now {facts['data'][:12]}…)")
    if accelerator.is_main_process:
        truncate_metrics(folder.metrics, state.progress.images_seen)
    total = config.trainer.total_images
    report.say(f"resuming from {newest}" if state.progress.images_seen < total else _complete(newest, total, config))


def _complete(newest: Path, total: int, config: GANRunConfig | ClassifierRunConfig) -> str:
    """Say that a run has nothing left to do, and how to go on."""
    if ends_with_the_run(config):
        way_on = "its schedule ends with it, so train for longer under a new --name"
    else:
        way_on = "to lengthen it, give a larger --trainer.total-images"
    return f"{newest} is complete: all {total:,} images of trainer.total_images were seen, nothing is left to train; {way_on}"


def load_network(file: Path, network: nn.Module) -> None:
    """Load a network's tensors strictly; raise ``UserError`` naming the file and the first tensors that do not fit."""
    try:
        network.load_state_dict(load_file(file))
    except RuntimeError as error:
        raise UserError(f"{file} does not fit the network: {' '.join(str(error).split())[:400]}") from error


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}


def _split(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Return an optimiser's state as named tensors and its groups as JSON data."""
    state = optimizer.state_dict()
    tensors = {f"{index}.{key}": value for index, slots in state["state"].items() for key, value in slots.items()}
    groups = [
        {key: value.item() if isinstance(value, Tensor) else value for key, value in group.items()} for group in state["param_groups"]
    ]
    return _contiguous(tensors), groups


def _join(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], groups: list[dict[str, Any]]) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    slots: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        like = parameters[int(index)]
        if tensor.shape == like.shape:
            # fused optimisers walk through memory: a moment must lie as its parameter does (channels last, say)
            tensor = torch.empty_like(like).copy_(tensor)
        slots.setdefault(int(index), {})[key] = tensor
    # whether a step may be captured depends on the device of now, not on that of the checkpoint
    devices = [{"capturable": group["capturable"]} if "capturable" in group else {} for group in optimizer.param_groups]
    merged = [{**group, **device} for group, device in zip(groups, devices, strict=True)]
    optimizer.load_state_dict({"state": slots, "param_groups": merged})


def _sha256(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
