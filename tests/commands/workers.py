"""Processes of ablations for tests: one is interrupted at its first checkpoint, or records what it was given."""

import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch

from gconv_gan.commands.ablation import workers
from gconv_gan.commands.train import gan
from gconv_gan.training import loop

PATIENCE = 120.0


def weight_scorer(_plan: Any, _config: Any, _dataset: Any, _accelerator: Any, scores: Path) -> Callable[..., dict[str, float]]:
    """Score a generator by its first weight, since an extractor takes seconds."""

    def score(generator: torch.nn.Module, images: int) -> dict[str, float]:
        value = float(next(iter(generator.parameters())).double().square().sum())
        (scores / "during_training").mkdir(exist_ok=True)
        (scores / "during_training" / f"{images}.json").write_text(json.dumps({"scores": {"fd": value}}))
        return {"fd2k_lite0/fd": value}

    return score


def two_processes(monkeypatch: pytest.MonkeyPatch, work: Callable[..., None], **told: str) -> None:
    """Let an ablation have two processes on a CPU with `work` as their entry, to which `told` is given with the place."""
    places = workers._places
    monkeypatch.setattr(workers, "available_cores", lambda: 2)
    monkeypatch.setattr(workers, "_places", lambda *asked: [{**place, **told} for place in places(*asked)])
    monkeypatch.setattr(workers, "LOOK", 0.05)
    monkeypatch.setattr(workers, "_work", work)


def interrupted(share: Any, place: Mapping[str, str], limit: float | None, length: int | None, connection: Connection) -> None:
    """Train, but the first process that has written a checkpoint gets the signal SIGNAL, or sends it to the first process and waits."""
    gan.training_scorer = weight_scorer
    save, number = loop.save_checkpoint, int(place["SIGNAL"])

    def saved(*arguments: Any, **options: Any) -> Path:
        found = save(*arguments, **options)
        try:
            Path(place["MARKER"]).touch(exist_ok=False)
        except FileExistsError:
            return found
        if number == signal.SIGKILL:
            os.kill(os.getpid(), number)
        noticed = signal.getsignal(signal.SIGTERM)
        arrived: list[int] = []

        def hear(number: int, frame: Any) -> None:
            arrived.append(number)
            assert callable(noticed)
            noticed(number, frame)

        signal.signal(signal.SIGTERM, hear)
        os.kill(int(place["PARENT"]), number)
        if number == signal.SIGINT:
            os.kill(os.getpid(), number)  # a terminal sends it to every process
        end = time.monotonic() + PATIENCE
        while not arrived and time.monotonic() < end:
            time.sleep(0.01)
        return found

    loop.save_checkpoint = saved
    workers._work(share, place, limit, length, connection)


def recorded(share: Any, place: Mapping[str, str], limit: float | None, length: int | None, connection: Connection) -> None:
    """Train nothing, and write the visible GPUs and the runs into the folder of the runs."""

    def record(runs: Any, **_: Any) -> int:
        cards = os.environ["CUDA_VISIBLE_DEVICES"]
        folder = Path(next(iter(runs.values())).runs_dir)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{cards}.json").write_text(json.dumps(list(runs)))
        return 64

    workers.side_by_side = record
    workers._work(share, place, limit, length, connection)
