"""Exact resume, seeds, signals and settings that a resumed run may change, for GANs and classifiers."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from gconv_gan.config.errors import StoppedBySignalError
from gconv_gan.runtime.tracking import read_metrics
from gconv_gan.training.checkpoint import checkpoints
from tests.training.interrupted import CLASSIFIER, GAN, At, PowerCutError, Training, power_cut
from tests.training.tiny import final_files


@pytest.fixture(scope="module", params=[GAN, CLASSIFIER], ids=["GAN", "classifier"])
def training(request: pytest.FixtureRequest) -> Training:
    found: Training = request.param
    return found


@pytest.fixture(scope="module")
def uninterrupted(training: Training, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    training.fit(training.tiny(folder))
    return folder


# a GAN sees 360 images and a classifier 324 in an epoch: at 336 the next one has begun
@pytest.mark.parametrize("images", [176, 336, 464])
def test_a_killed_run_ends_with_the_bits_of_an_uninterrupted_one(
    images: int, training: Training, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PowerCutError):
        training.fit_with(monkeypatch, At(images, power_cut), tmp_path)
    torch.manual_seed(images)  # training must not depend on torch's global generator
    training.fit(training.tiny(tmp_path))
    assert final_files(tmp_path) == final_files(uninterrupted)
    for name in ("model.safetensors", "model.json") if training is CLASSIFIER else ():
        assert (tmp_path / "tiny" / name).read_bytes() == (uninterrupted / "tiny" / name).read_bytes()
    ours, theirs = (read_metrics(folder / "tiny" / "metrics.jsonl") for folder in (tmp_path, uninterrupted))
    for line in (*ours, *theirs):
        line.pop("seconds_per_kimg", None), line.pop("peak_memory_gib", None)
    assert [line["images"] for line in ours] == [line["images"] for line in theirs]
    assert ours[-1] == theirs[-1]


def test_sigterm_saves_and_the_run_goes_on_exactly(
    training: Training, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StoppedBySignalError, match="SIGTERM"):
        training.fit_with(monkeypatch, At(224, lambda: os.kill(os.getpid(), signal.SIGTERM)), tmp_path)
    # the end of the iteration that was under way: two discriminator steps, or one of a classifier
    assert checkpoints(tmp_path / "tiny")[0][0] == (256 if training is GAN else 240)
    training.fit(training.tiny(tmp_path))
    assert final_files(tmp_path) == final_files(uninterrupted)


@pytest.mark.parametrize(
    ("training", "changes"),
    [(GAN, {"augment": {"kind": "ada", "initial_probability": 0.5}}), (CLASSIFIER, {})],
    ids=["GAN", "classifier"],
)
def test_training_leaves_the_global_generator_alone(training: Training, changes: dict[str, Any], tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    training.fit(training.tiny(tmp_path, trainer={"total_images": 64}, **changes))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_another_seed_gives_other_weights(training: Training, uninterrupted: Path, tmp_path: Path) -> None:
    training.fit(training.tiny(tmp_path, seed=4))
    ours, theirs = final_files(tmp_path), final_files(uninterrupted)
    for name in ours.keys() & {"generator.safetensors", "discriminator.safetensors", "classifier.safetensors"}:
        assert ours[name] != theirs[name]


def test_a_finished_run_is_not_changed_by_the_same_command(
    training: Training, uninterrupted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = final_files(uninterrupted)
    capsys.readouterr()
    training.fit(training.tiny(uninterrupted))
    assert final_files(uninterrupted) == before
    said = capsys.readouterr().out
    assert "checkpoint-480 is complete: all 480 images of trainer.total_images were seen" in said
    assert "its schedule ends with it, so train for longer under a new --name" in said
    assert "resuming" not in said


def test_cadences_may_change_on_resume(training: Training, uninterrupted: Path) -> None:
    changes = {"evaluation": {"every": 480}} if training is CLASSIFIER else {}
    training.fit(training.tiny(uninterrupted, trainer={"log_every": 64, "keep_checkpoints": 9}, **changes))
