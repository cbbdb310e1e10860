"""Every method on every kind of network, in runs of either sort: it trains or is refused in one sentence, reads nothing on the host
within an iteration, and a killed run ends with the same bits. The rows are those of ``METHODS``: a new one needs an example.
"""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from gconv_gan import parts
from gconv_gan.config.errors import UserError
from gconv_gan.config.load import merged
from gconv_gan.methods.method import PlayerName
from gconv_gan.models.changes import summaries
from gconv_gan.runtime.tracking import read_metrics
from gconv_gan.training import engine
from gconv_gan.training.checkpoint import checkpoints
from tests.methods.examples import EXAMPLES, Example, Task
from tests.reference.host_free import HostFreeEngine
from tests.training.interrupted import CLASSIFIER, GAN, Training

TASKS: dict[Task, Training] = {"gan": GAN, "classifier": CLASSIFIER}
BATCH, ITERATIONS = 4, 8
IMAGES = BATCH * ITERATIONS
SHORT: dict[str, Any] = {"trainer": {"batch_size": BATCH, "total_images": IMAGES, "log_every": IMAGES}}
SMALL: dict[str, dict[str, Any]] = {
    "named": {"name": "wrn_10_1", "options": {"width": 0.25}},
    "post_norm_transformer": {"width": 8, "depth": 2, "hidden": 16},
}
NETWORKS: dict[PlayerName, dict[str, dict[str, Any]]] = {
    "generator": {kind: {"generator": {"kind": kind, "width": 8, "latent_dim": 6, "conv": {"kind": "gconv"}}} for kind in parts.GENERATORS},
    "discriminator": {kind: {"discriminator": {"kind": kind, "width": 8}} for kind in parts.DISCRIMINATORS},
    "classifier": {kind: {"network": {"kind": kind, **SMALL.get(kind, {"width": 8})}} for kind in parts.CLASSIFIERS},
}
"""Network -> kind -> changes of the run's config; the kinds are those of the tables of networks."""


def example_of(method: str) -> Example:
    if method not in EXAMPLES:
        pytest.fail(f"the method {method} has no example: add one to tests/methods/examples.py")
    return EXAMPLES[method]


def task_of(player: PlayerName) -> Task:
    return "classifier" if player == "classifier" else "gan"


def players_of(example: Example, task: Task) -> tuple[PlayerName, ...]:
    """Return the networks of a task's tiny run that the method can be asked to act on together."""
    return tuple(player for player in example.players if task_of(player) == task and (player, TINY[player]) not in example.refused)


TINY: dict[PlayerName, str] = {"generator": "resnet", "discriminator": "resnet", "classifier": "named"}
"""The kinds of the networks of the tiny runs."""


@pytest.mark.usefixtures("fresh_accelerate_state")
@pytest.mark.parametrize(("player", "kind"), [(player, kind) for player, kinds in NETWORKS.items() for kind in kinds])
@pytest.mark.parametrize("method", parts.METHODS)
def test_it_trains_every_kind_of_network_or_is_refused(
    method: str, player: PlayerName, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example, task = example_of(method), task_of(player)
    sentence = example.refused.get((player, kind))
    if player not in example.players and sentence is None:
        pytest.skip(f"{method} has no key that names the {player}")
    engines: list[HostFreeEngine] = []

    def build(iterate: Any) -> HostFreeEngine:
        engines.append(HostFreeEngine(iterate))
        return engines[-1]

    monkeypatch.setattr(engine, "EagerEngine", build)
    changes = merged(merged(SHORT, NETWORKS[player][kind]), example.runs.get(task, {}))
    config = TASKS[task].tiny(tmp_path, **changes, methods=[example.section(method, player)])
    if sentence is not None:
        with pytest.raises(UserError, match=sentence) as refusal:
            TASKS[task].fit(config)
        assert "\n" not in str(refusal.value)
        assert not (tmp_path / "tiny").exists()
        return
    TASKS[task].fit(config)
    lines = list(read_metrics(tmp_path / "tiny" / "metrics.jsonl"))
    assert lines[-1]["images"] == IMAGES
    assert all(math.isfinite(value) for line in lines for value in line.values()), lines
    assert sum(len(calls) for one in engines for calls in one.calls.values()) > 50
    state = tmp_path / "tiny" / f"checkpoint-{IMAGES}" / "state.json"
    (record,) = json.loads(state.read_text())["methods"]
    assert bool(record["facts"]) == example.changes_structure
    assert bool(summaries(player, [record], source=state)) == example.changes_structure


@pytest.mark.usefixtures("fresh_accelerate_state")
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("method", parts.METHODS)
def test_a_killed_run_ends_with_the_same_bits(method: str, task: Task, tmp_path: Path) -> None:
    example = example_of(method)
    players = players_of(example, task)
    if not players:
        pytest.skip(f"{method} does not act on a {task}")
    trainer = {"total_images": 64, "checkpoint_every": 16, "log_every": 32}
    smaller = {"network": SMALL["named"]} if task == "classifier" else {}
    changes = merged({"trainer": trainer, **smaller, "methods": [example.section(method, *players)]}, example.runs.get(task, {}))
    config = TASKS[task].tiny(tmp_path, **changes)

    def fit() -> dict[str, bytes]:
        TASKS[task].fit(config)
        return {file.name: file.read_bytes() for file in (tmp_path / "tiny" / "checkpoint-64").iterdir()}

    whole = fit()
    for _, checkpoint in checkpoints(tmp_path / "tiny")[:-1]:  # what a run that is killed before its second checkpoint leaves
        shutil.rmtree(checkpoint)
    assert fit() == whole
    assert whole


def test_every_example_is_of_a_method() -> None:
    assert EXAMPLES.keys() <= set(parts.METHODS)
