"""Checkpoints: ``checkpoint-<images>/`` with a safetensors file per network and optimiser, counters as JSON, and all files' SHA-256.

A checkpoint is written under a temporary name, synced and renamed, so a kill at any moment leaves the previous one. The newest
checkpoint whose hashes match is loaded. A damaged one is reported and skipped, never deleted, and not counted among those kept.
Loading a checkpoint never runs code from it.
"""

import functools
import hashlib
import itertools
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import Tensor, nn

from gconv_gan.config.errors import UserError
from gconv_gan.config.hints import does_not_exist
from gconv_gan.config.sections.classifiers import ClassifierRunConfig
from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.optim.learning_rates import plain_groups
from gconv_gan.runtime.files.atomic import new_folder
from gconv_gan.runtime.run_folder import RunFolder, ends_with_the_run
from gconv_gan.runtime.tensors import save_tensors
from gconv_gan.runtime.tracking import truncate_metrics
from gconv_gan.training.best import is_marked
from gconv_gan.training.report import Report
from gconv_gan.training.state import TrainingState

HASHES = "SHA256SUMS"
STATE = "state.json"
FORMAT = 2
"""Format of ``state.json``; a run resumes from this format only. 2: counter-based random numbers; older files have no such entry."""


def checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """Return (images, path) of every checkpoint in a run folder, newest first."""
    found = [(images_at(path), path) for path in folder.glob("checkpoint-*") if path.name[11:].isdigit()]
    return sorted(found, reverse=True)


def images_at(checkpoint: Path) -> int:
    """Return the images seen at a checkpoint, from its name."""
    return int(checkpoint.name.removeprefix("checkpoint-"))


def save_checkpoint(folder: Path, state: TrainingState, *, keep: int, facts: dict[str, Any], report: Callable[[str], None]) -> Path:
    """Write and return ``folder/checkpoint-<images>``; delete the undamaged ones except the newest ``keep`` and the best by any score.

    A damaged checkpoint of the same name is renamed, and reported.
    """
    path = folder / f"checkpoint-{state.progress.images_seen}"
    if path.exists():
        fault = damage(path)
        if fault is None:
            return path
        report(f"{path} is damaged ({fault}); it is kept as {_set_aside(path)}")
    with new_folder(path) as temporary:
        groups = {}
        for name, network in state.networks().items():
            save_tensors(_contiguous(network.state_dict()), temporary / f"{name}.safetensors")
        for name, optimizer in state.optimizers().items():
            tensors, groups[name] = _split(optimizer)
            save_tensors(tensors, temporary / f"{name}.safetensors")
        contents = {"format": FORMAT, "progress": asdict(state.progress), "optimizer_groups": groups, **facts}
        (temporary / STATE).write_text(json.dumps(contents, indent=2) + "\n")
        lines = [f"{_sha256(file)}  {file.name}\n" for file in sorted(temporary.iterdir())]
        (temporary / HASHES).write_text("".join(lines))
    whole = [(images, old) for images, old in checkpoints(folder) if _is_whole(old)]
    for images, old in whole[keep:]:
        if images != state.progress.best_images and not is_marked(folder, images):
            # renamed before it is deleted: a kill during the deletion would otherwise leave a damaged checkpoint
            old.rename(old.with_name(f".{old.name}.deleted"))
    for left in (*folder.glob(".checkpoint-*.deleted"), *folder.glob(".checkpoint-*.partial")):
        shutil.rmtree(left, ignore_errors=True)
    return path


def _set_aside(path: Path) -> Path:
    """Rename a damaged checkpoint so that its name is free; return the new name."""
    names = (path.with_name(f"{path.name}.damaged{number or ''}") for number in itertools.count())
    aside = next(name for name in names if not name.exists())
    path.rename(aside)
    return aside


def _is_whole(path: Path) -> bool:
    """Return whether a checkpoint is undamaged; a process does not read unchanged files twice."""
    files = sorted(path.iterdir()) if path.is_dir() else []
    stats = [(file.name, file.stat()) for file in files]
    return _fault(path, tuple((name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in stats)) is None


@functools.lru_cache(maxsize=1024)
def _fault(path: Path, signature: tuple[tuple[str, int, int, int], ...]) -> str | None:
    del signature  # it is part of the cache key
    return damage(path)


def damage(path: Path) -> str | None:
    """Return the fault of a checkpoint in one phrase; None if every file matches its hash."""
    if not (path / HASHES).is_file():
        return f"{HASHES} is missing"
    sums = [line.partition("  ") for line in (path / HASHES).read_text(errors="replace").splitlines()]
    present = {file.name for file in path.iterdir()}
    for expected, _, name in sums:
        if name not in present:
            return f"{name} is missing"
        if _sha256(path / name) != expected:
            return f"{name} does not match its SHA-256"
    listed = {name for _, _, name in sums}
    unlisted = sorted(name for name in {STATE, *present} - listed if name == STATE or name.endswith(".safetensors"))
    return f"{HASHES} does not list {unlisted[0]}" if unlisted else None


def newest_whole(folder: Path, report: Callable[[str], None]) -> Path | None:
    """Return the newest undamaged checkpoint of a run folder; report each damaged one that is skipped."""
    for _, path in checkpoints(folder):
        fault = damage(path)
        if fault is None:
            return path
        report(f"skipping damaged checkpoint {path}: {fault}")
    return None


def load_checkpoint(path: Path, state: TrainingState) -> dict[str, Any]:
    """Load ``state`` strictly from the checkpoint ``path``; return the content of its ``state.json``.

    Raises:
        UserError: the checkpoint's tensors are not those of the networks.

    """
    contents: dict[str, Any] = json.loads((path / STATE).read_text())
    for name, network in state.networks().items():
        load_network(path / f"{name}.safetensors", network)
    for name, optimizer in state.optimizers().items():
        _join(optimizer, load_file(path / f"{name}.safetensors"), contents["optimizer_groups"][name])
    for name, value in contents["progress"].items():
        setattr(state.progress, name, value)
    return contents


def resumable(folder: Path, facts: Mapping[str, Any], report: Callable[[str], None]) -> Path | None:
    """Return the checkpoint from which a run resumes, the newest undamaged one; None: the run starts at 0 images.

    Args:
        folder: the run folder.
        facts: content hash of the run's "data" and its "mixed_precision"; an absent entry is not compared.
        report: called with a message for each damaged checkpoint that is skipped.

    Raises:
        UserError: there are checkpoints, but all are damaged; or the checkpoint was trained on other data, in another precision,
            or by a version that draws other random numbers.

    """
    newest = newest_whole(folder, report)
    if newest is None:
        if damaged := checkpoints(folder):
            raise UserError(
                f"no checkpoint in {folder} is whole ({'; '.join(f'{path.name}: {damage(path)}' for _, path in damaged)}): "
                f"to start over at 0 images, give a new --name, or move {folder / 'checkpoint-*'} away; nothing was changed"
            )
        return None
    stored = json.loads((newest / STATE).read_text())
    if stored.get("format", 1) != FORMAT:
        raise UserError(
            f"{newest} was written in format {stored.get('format', 1)} by another version of gconv_gan, which draws other random numbers "
            f"than this one (format {FORMAT}): continue with that version, or train anew under another --name"
        )
    data, precision = facts.get("data"), facts.get("mixed_precision")
    if data is not None and stored["data"] != data:
        raise UserError(f"{newest} was trained on other data (content hash {stored['data'][:12]}…, now {data[:12]}…)")
    if precision is not None and stored.get("mixed_precision", precision) != precision:
        raise UserError(
            f"{newest} was trained with mixed precision {stored['mixed_precision']}, now it is {precision}: "
            f"launch with --mixed_precision {stored['mixed_precision']}, or train under a new --name"
        )
    return newest


def forked_from(fork: str) -> Path:
    """Return the checkpoint that ``fork`` of a config names, RUN or RUN@IMAGES.

    Raises:
        UserError: there is no such undamaged checkpoint, or another version wrote it.

    """
    folder, at, images = fork.rpartition("@")
    run = Path(folder if at and images.isdigit() else fork)
    if not run.is_dir():
        raise UserError(f"fork: {does_not_exist(run)}")
    known = [count for count, _ in checkpoints(run)]
    if not known:
        raise UserError(f"fork: {run} is not a run folder with checkpoints")
    path = run / f"checkpoint-{images}" if at and images.isdigit() else newest_whole(run, lambda _: None)
    if path is not None and not path.is_dir():
        raise UserError(f"fork: {run} has no checkpoint at {images} images; it has {', '.join(map(str, sorted(known)))}")
    if path is None or (fault := damage(path)) is not None:
        raise UserError(f"fork: {path or run} is damaged" + ("" if path is None else f" ({fault})"))
    if json.loads((path / STATE).read_text()).get("format", 1) != FORMAT:
        raise UserError(f"fork: {path} was written by another version of gconv_gan, which draws other random numbers")
    return path


def lineage(checkpoint: Path) -> dict[str, Any]:
    """Return where a forked run comes from, for its checkpoints: folder, images seen, hash of the list of the files' hashes."""
    return {"run": str(checkpoint.parent), "images": images_at(checkpoint), "sha256": _sha256(checkpoint / HASHES)}


def _go_on_from(path: Path, state: TrainingState) -> None:
    """Load the checkpoint of another run; the settings of the optimisers stay those of this run, and its best score is not this run's."""
    stored = json.loads((path / STATE).read_text())
    for name, network in state.networks().items():
        file = path / f"{name}.safetensors"
        if not file.is_file():
            raise UserError(f"fork: {path} holds no {name}, which this run has: leave that out, or take start_from instead of fork")
        load_network(file, network)
    for name, optimizer in state.optimizers().items():
        _join(optimizer, load_file(path / f"{name}.safetensors"), plain_groups(optimizer))
    for name, value in stored["progress"].items():
        if not name.startswith("best_"):
            setattr(state.progress, name, value)


def resume(
    folder: RunFolder,
    state: TrainingState,
    facts: dict[str, Any],
    accelerator: Accelerator,
    report: Report,
    config: GANRunConfig | ClassifierRunConfig,
    fork: Path | None = None,
) -> None:
    """Load the newest undamaged checkpoint, if there is one, and delete the later lines of the metrics, which will be written again.

    Without one, ``fork``, a checkpoint of another run, is loaded. Prints the checkpoint or, if the run is complete, how it can be
    lengthened.

    Raises:
        UserError: see ``resumable``; or ``fork`` does not fit the run.

    """
    newest = resumable(folder.path, facts, report.say)
    if newest is None:
        if fork is not None:
            _go_on_from(fork, state)
            report.say(f"going on from {fork}")
        if accelerator.is_main_process:
            truncate_metrics(folder.metrics, 0)
        return
    load_checkpoint(newest, state)
    if accelerator.is_main_process:
        truncate_metrics(folder.metrics, state.progress.images_seen)
    total = config.trainer.total_images
    report.say(f"resuming from {newest}" if state.progress.images_seen < total else _complete(newest, total, config))


def _complete(newest: Path, total: int, config: GANRunConfig | ClassifierRunConfig) -> str:
    """Return the message that a run is complete, and how to train longer."""
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
    return _contiguous(tensors), plain_groups(optimizer)


def _join(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], groups: list[dict[str, Any]]) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    slots: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        like = parameters[int(index)]
        if tensor.shape == like.shape:
            # fused optimisers ignore strides: a moment needs the memory layout of its parameter (such as channels last)
            tensor = torch.empty_like(like).copy_(tensor)
        slots.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": slots, "param_groups": groups})


def _sha256(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
