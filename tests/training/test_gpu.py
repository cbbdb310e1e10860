"""Tests that need a CUDA device: ``pytest -m gpu tests/training/test_gpu.py``."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors.torch import load

from gconv_gan.commands import ablate
from gconv_gan.commands.train import classifier as classifier_recipe
from gconv_gan.commands.train import gan as gan_recipe
from gconv_gan.config.ablations import AblationConfig
from gconv_gan.config.load import load_config, merged
from gconv_gan.data.batches.loaders import BatchSource
from gconv_gan.runtime.capture import no_waiting
from gconv_gan.runtime.random import Stream
from gconv_gan.training import engine
from gconv_gan.training.draws import Draws
from tests.commands.test_ablate import DIGITS, command, scored_by_weights
from tests.data.made import in_memory
from tests.training.test_host_free import CLASSIFIER_OPTIONS, GAN_OPTIONS
from tests.training.tiny import final_files, tiny
from tests.training.tiny_classifier import tiny_classifier

pytestmark = pytest.mark.gpu
__all__ = ["scored_by_weights"]  # a fixture

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when the first product is computed

SHORT: dict[str, Any] = {"trainer": {"total_images": 160, "checkpoint_every": 1000, "log_every": 80}}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {"generator": {"conv": {"kind": "plain"}}},
    "bank": {"generator": {"conv": {"kind": "gconv", "mode": "bank"}}},
    "ConvNorm": {"discriminator": {"norm": {"kind": "conv_norm"}}},
    "bf16 with a penalty": {"trainer": {"precision": "bf16"}, "objective": {"penalty": {"kind": "r1"}}},
    **GAN_OPTIONS,
}


@pytest.fixture(autouse=True)
def _on_a_gpu() -> Iterator[None]:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


class WatchedEngine(engine.EagerEngine):
    """The eager engine; from the second iteration of a variant on, waiting for the device raises an error."""

    def __init__(self, iteration: engine.Iteration) -> None:
        super().__init__(iteration)
        self.seen: set[Any] = set()

    def run(self, variant: Any, inputs: Any) -> None:
        with no_waiting() if variant in self.seen else contextlib.nullcontext():
            super().run(variant, inputs)
        self.seen.add(variant)


def run(folder: Path, name: str, option: dict[str, Any]) -> dict[str, bytes]:
    """Train a tiny GAN on the engine ``name``; return its last checkpoint. The engine must not fall back to eager execution."""
    config = tiny(folder / name, **merged(merged(SHORT, option), {"trainer": {"engine": name}}))
    gan_recipe.fit(config)
    log = (folder / name / "tiny" / "log.txt").read_text()
    assert "operation by operation" not in log, log
    total = -(-config.trainer.total_images // config.trainer.images_per_iteration) * config.trainer.images_per_iteration
    return final_files(folder / name, images=total)


@pytest.mark.parametrize("option", OPTIONS)
def test_the_graph_trains_as_the_operations_do_and_neither_waits(option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "EagerEngine", WatchedEngine)
    captured, called = (run(tmp_path, name, OPTIONS[option]) for name in ("cuda_graph", "eager"))
    same = captured == called
    print(f"{option}: {'bit-equal' if same else 'not bit-equal'}")
    for file, content in called.items():
        if file.endswith(".safetensors") and not same:
            mine, theirs = load(captured[file]), load(content)
            for name, tensor in theirs.items():
                torch.testing.assert_close(mine[name].float(), tensor.float(), rtol=0.05, atol=5e-3, msg=lambda m, n=name: f"{n}: {m}")


def test_a_graph_trains_a_classifier_as_the_operations_do(tmp_path: Path) -> None:
    scores = []
    for name in ("cuda_graph", "eager"):
        options = merged(merged(SHORT, CLASSIFIER_OPTIONS["mixup and CutMix"]), {"trainer": {"engine": name}})
        scores.append(classifier_recipe.fit(tiny_classifier(tmp_path / name, **options)))
        assert "operation by operation" not in (tmp_path / name / "tiny" / "log.txt").read_text()
    assert scores[0]["loss"] == pytest.approx(scores[1]["loss"], rel=0.05)


def test_a_killed_run_that_is_started_again_is_the_uninterrupted_one(tmp_path: Path) -> None:
    option: dict[str, Any] = {"objective": {"penalty": {"kind": "r1", "every": 3}}, "schedule": {"kind": "constant"}}
    for folder, totals in (("killed", (160, 480)), ("whole", (480,))):
        for total in totals:
            AcceleratorState._reset_state(reset_partial_state=True)
            gan_recipe.fit(tiny(tmp_path / folder, **merged(option, {"trainer": {"total_images": total, "engine": "cuda_graph"}})))
    killed, whole = (final_files(tmp_path / folder) for folder in ("killed", "whole"))
    assert {name: killed[name] == content for name, content in whole.items()} == dict.fromkeys(whole, True)


@pytest.mark.usefixtures("scored_by_weights")
def test_runs_on_streams_of_their_own_are_those_alone(tmp_path: Path) -> None:
    config = load_config(AblationConfig, DIGITS)
    together, alone = (command(tmp_path / name, images=960, cache_dir=str(tmp_path / "cache")) for name in ("together", "alone"))
    result = ablate.ablate(config, together, folder=DIGITS.parent)
    assert result["images"] == 960
    for arm in config.arms:
        for seed in (0, 1):
            AcceleratorState._reset_state(reset_partial_state=True)
            run = ablate.arm_run(config, alone, arm, seed, folder=DIGITS.parent)
            gan_recipe.fit(run)
            folders = (tmp_path / "together" / "digits" / run.name, Path(run.runs_dir) / run.name)
            mine, theirs = ((folder / "checkpoint-960" / "ema.safetensors").read_bytes() for folder in folders)
            assert mine == theirs, f"{arm}, seed {seed}"


def test_numbers_and_images_are_those_of_a_cpu() -> None:
    places = torch.arange(4096)
    stream = Stream(3, "test")
    assert stream.words(7, places.cuda(), 8).cpu().equal(stream.words(7, places, 8))
    assert stream.coins(7, places.cuda()).cpu().equal(stream.coins(7, places))
    on_gpu, on_cpu = stream.normal(7, places.cuda(), 128).cpu(), stream.normal(7, places, 128)
    assert int((on_gpu != on_cpu).sum()) <= 2
    devices = [torch.device("cpu"), torch.device("cuda", 0)]
    drawn = [[Draws(3, 16, 6, 5, 0, 1, device)("d", step, (2,)) for step in (0, 1, 33)] for device in devices]
    for one, other in zip(*drawn, strict=True):
        assert one.labels is not None
        assert other.labels is not None
        assert one.labels.equal(other.labels.cpu())
    data = in_memory(np.random.default_rng(0).integers(0, 256, (50, 3, 8, 8), dtype=np.uint8), [0, 1] * 25, ("a", "b"))
    for resident in (True, False):
        batches = [BatchSource(data, seed=1, flip=True, batch_size=12, device=device, resident=resident) for device in devices]
        for images_seen in (0, 12, 600):
            (images, labels), (expected, classes) = (source.batch(images_seen) for source in reversed(batches))
            assert images.is_cuda
            assert labels is not None
            assert classes is not None
            assert images.cpu().equal(expected)
            assert labels.cpu().equal(classes)


def test_the_device_is_used() -> None:
    assert Accelerator().device.type == "cuda"
