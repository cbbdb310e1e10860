"""The estimated time of a dry run: for every kind of step, within its budget, and scaled if only a part was measured."""

import re
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from gconv_gan.commands.train.dry_run import step_time
from gconv_gan.commands.train.dry_run.classifier_plan import plan as classifier_plan
from gconv_gan.commands.train.dry_run.gan_plan import plan
from gconv_gan.commands.train.dry_run.step_time import StepTime, duration, estimate
from gconv_gan.config.errors import UserError
from tests.training.test_combinations import AXES, BATCH, DEFAULTS, STEPS, config_of, outcome
from tests.training.test_gan import EVERYTHING, RELATIVISTIC
from tests.training.tiny import tiny
from tests.training.tiny_classifier import tiny_classifier

TIME = (
    r"time: about [\d.e-]+ s per iteration on cpu, [\d.]+ \w+ for the {:,} iterations to go: an estimate, measured with {} images at a time"
)


@pytest.fixture(autouse=True)
def enough_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole batches are measured at any load of the machine."""
    monkeypatch.setattr(step_time, "BUDGET", 60.0)


@pytest.mark.parametrize("axis", AXES)
def test_every_kind_of_part_has_a_time(axis: str, tmp_path: Path) -> None:
    for value in AXES[axis]:
        row = {**DEFAULTS, axis: value}
        if outcome(row, tmp_path, "row", train=False) is None:  # else the run is refused
            text = plan(config_of(row, tmp_path, "row"))
            assert re.search(TIME.format(STEPS, BATCH), text), (row, text[-600:])
    assert not (tmp_path / "row").exists()


@pytest.mark.parametrize("changes", [EVERYTHING, RELATIVISTIC], ids=["everything", "relativistic"])
def test_an_objective_with_all_regularisers_has_a_time(changes: dict[str, Any], tmp_path: Path) -> None:
    part = 16 // changes.get("trainer", {}).get("micro_batches", 1)
    assert re.search(TIME.format(15, part), plan(tiny(tmp_path, **changes)))


def test_a_classifier_has_a_time(tmp_path: Path) -> None:
    assert re.search(TIME.format(30, 16), classifier_plan(tiny_classifier(tmp_path)))


def test_times_are_scaled_from_the_measured_batch_within_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_time, "BUDGET", 0.5)
    batches: list[int] = []

    def iteration(batch: int) -> float:
        batches.append(batch)
        time.sleep(0.02 * batch)
        return 0.02 * batch

    start = time.perf_counter()
    taken = estimate(iteration, Accelerator(), share=256, part=256, rough=5.0)
    assert time.perf_counter() - start < 1.5
    assert batches[:2] == [2, 8]
    assert taken.batch == batches[-1] < 256
    assert taken.seconds == pytest.approx(0.02 * 256)
    assert "measured with 2 images at a time and scaled to 8" in StepTime(1.0, 2).text(3, share=8, device=torch.device("cpu"))


def test_the_constant_part_of_a_step_is_not_scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_time, "BUDGET", 0.3)
    batches: list[int] = []

    def iteration(batch: int) -> float:
        batches.append(batch)
        time.sleep(0.01 * batch)
        return 0.5 + 0.01 * batch

    taken = estimate(iteration, Accelerator(), share=128, part=64, rough=1.0)
    assert max(batches) < 64
    assert taken.seconds == pytest.approx(2 * (0.5 + 0.64))


def test_a_slow_first_call_and_a_slow_other_one_are_not_in_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    durations = iter([9.0, 0.1, 5.0, 0.1, 0.1, 0.1])
    monkeypatch.setattr(step_time, "BUDGET", 100.0)

    def run() -> None:
        nonlocal now
        now += next(durations)

    monkeypatch.setattr(step_time.time, "process_time", lambda: now)
    monkeypatch.setattr(step_time.time, "perf_counter", lambda: now)
    assert step_time.typical(run, Accelerator()) == pytest.approx(0.1)


def test_a_step_far_beyond_the_budget_is_not_started() -> None:
    taken = estimate(lambda _: pytest.fail("begun"), Accelerator(), share=64, part=64, rough=10_000.0)
    assert taken == StepTime(10_000.0, None)
    assert "from a forward pass of two images, scaled by the MACs" in taken.text(1, share=64, device=torch.device("cpu"))


def test_a_micro_batch_is_never_exceeded() -> None:
    batches: list[int] = []
    taken = estimate(lambda batch: batches.append(batch) or 0.01 * batch, Accelerator(), share=12, part=6, rough=0.0)
    assert max(batches) == 6
    assert taken.seconds == pytest.approx(0.12)


def test_a_batch_beyond_the_memory_is_refused() -> None:
    def iteration(batch: int) -> float:
        if batch > 4:
            raise torch.OutOfMemoryError
        return 0.001

    with pytest.raises(UserError, match=r"a step of 8 images does not fit into the memory of cpu: raise trainer\.micro_batches, or lower"):
        estimate(iteration, Accelerator(), share=64, part=64, rough=0.0)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0123, "0.012 s"), (45.0, "45 s"), (150.0, "2.5 min"), (5e3, "83 min"), (1e4, "2.8 h"), (9e5, "10 days")]
)
def test_durations_as_text(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_memory_follows_the_line_through_the_two_largest_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = 0
    monkeypatch.setattr(step_time, "BUDGET", 0.3)
    monkeypatch.setattr(step_time, "peak_memory", lambda _: 1000 + 10 * batch)

    def iteration(images: int) -> float:
        nonlocal batch
        batch = images
        time.sleep(0.01 * images)
        return 0.01 * images

    taken = estimate(iteration, Accelerator(), share=128, part=64, rough=1.0)
    assert taken.batch is not None
    assert taken.batch < 64
    assert taken.memory == pytest.approx(1640)
    assert StepTime(1.0, 64, 2.5 * 2**30).memory_text(torch.device("cpu")) == [
        "memory: about 2.5 GiB of this process at its peak, without samples and scores"
    ]
    assert StepTime(1.0, None).memory_text(torch.device("cpu")) == []
