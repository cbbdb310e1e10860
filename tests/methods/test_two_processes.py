"""Pruning by two launched processes: both keep the same units and hold the same bits of every network, before and after each removal."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from gconv_gan.commands.train.networks import load_run
from gconv_gan.methods import taylor
from gconv_gan.methods.taylor import averaged
from gconv_gan.runtime.script import run_command
from gconv_gan.training.task import Task
from tests.processes import run_two
from tests.training.test_two_processes import free_ports
from tests.training.tiny import tiny

IMAGES = 128
TAYLOR: dict[str, Any] = {"kind": "taylor", "every": 32, "units_per_step": 4, "removed": 0.1}
PRUNED: dict[str, list[dict[str, Any]]] = {
    "gradient_matrix": [{"kind": "gradient_matrix", "every": 64, "batches": 4, "threshold": 0.5}],
    "taylor": [
        {**TAYLOR, "players": ["generator"], "cut": "step"},
        {**TAYLOR, "players": ["discriminator"], "order": "second", "batches": 1},
    ],
}


def one_of_two(rank: int, config: str, port: int, seen: str) -> None:
    """Train, and write what this process holds after every iteration: units that are gone, and a hash of every network."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "ACCELERATE_USE_CPU": "true"}
    os.environ["MASTER_PORT"] = str(port)
    plain, found = Task.between, []

    def between(self: Task) -> bool:
        changed = plain(self)
        tensors = [tensor for player in self.players.values() for tensor in player.network.state_dict().values()]
        removed = {name: facts["removed"] for method in self.methods for name, facts in method.facts().items()}
        found.append([self.progress.images_seen, removed, hash(b"".join(tensor.contiguous().numpy().tobytes() for tensor in tensors))])
        Path(seen, f"{rank}.json").write_text(json.dumps(found))  # the command ends the process
        return changed

    Task.between = between  # type: ignore[method-assign]
    if rank:  # as if rounding had turned the order of all units round: the first process's scores count
        taylor.averaged = lambda *scores, **options: averaged(*scores, **options).flip(0)
    sys.argv = ["train_gan.py", config]
    run_command("gconv_gan.commands.train.gan")


@pytest.mark.parametrize("name", PRUNED)
def test_both_processes_keep_the_same_units(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    trainer = {"total_images": IMAGES, "log_every": IMAGES, "checkpoint_every": IMAGES}
    config = tmp_path / "run.json"
    config.write_text(tiny(tmp_path, generator={"width": 16}, trainer=trainer, methods=PRUNED[name]).model_dump_json())
    run_two(one_of_two, str(config), free_ports(1)[0], str(tmp_path))
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    assert [images for images, _, _ in first] == [32, 64, 96, 128]
    assert len({hashed for _, _, hashed in first}) == len(first)
    removed = first[-1][1]
    assert removed.keys() == {"generator", "discriminator"}
    assert all(removed.values())
    assert load_run(tmp_path / "tiny").images_seen == IMAGES
