"""The replaying engine equals the eager engine, bit for bit, over variants, checkpoints and resumed runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gconv_gan.commands.train import classifier as classifier_recipe
from gconv_gan.commands.train import gan as gan_recipe
from gconv_gan.training import loop
from gconv_gan.training.engine import EagerEngine, GraphEngine, build_engine
from tests.reference.recorder import Recorder
from tests.training.tiny import final_files, tiny
from tests.training.tiny_classifier import tiny_classifier

GANS: dict[str, dict[str, Any]] = {
    "lazy penalty": {"objective": {"penalty": {"kind": "r1", "every": 3}}, "trainer": {"max_grad_norm": 10.0}},
    "bfloat16 with a lazy penalty": {"objective": {"penalty": {"kind": "r1", "every": 3}}, "trainer": {"precision": "bf16"}},
    "annealed gates, ADA, LeCam": {
        "generator": {"conv": {"kind": "gconv", "selection": "softmax", "temperature": 5.0, "anneal_images": 300}},
        "augment": {"kind": "ada", "every": 2, "initial_probability": 0.3, "ramp_images": 500},
        "objective": {"lecam": {"weight": 0.3, "start_images": 100}},
    },
}


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """Make runs use the replaying engine of the tests."""
    made = Recorder()

    def build(_name: str, iterate: Any, *, state: Any, **_: Any) -> GraphEngine:
        return made.engine(iterate, state)

    monkeypatch.setattr(loop, "build_engine", build)
    return made


@pytest.mark.usefixtures("fresh_accelerate_state")
@pytest.mark.parametrize("option", GANS)
def test_a_replayed_gan_run_equals_an_eager_one(option: str, tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    gan_recipe.fit(tiny(tmp_path / "replayed", **GANS[option]))
    iterations = 480 // 32
    assert (recorder.replays, recorder.said) == (iterations, [])
    assert recorder.recorded == (3 if "penalty" in option else 1)  # two D steps of three, or one of either place
    monkeypatch.undo()
    gan_recipe.fit(tiny(tmp_path / "called", **GANS[option]))
    assert final_files(tmp_path / "replayed") == final_files(tmp_path / "called")


def test_a_replayed_and_resumed_run_equals_an_uninterrupted_one(
    tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    option = GANS["lazy penalty"]
    for total in (160, 480):
        gan_recipe.fit(tiny(tmp_path / "replayed", schedule={"kind": "constant"}, **{**option, "trainer": {"total_images": total}}))
    monkeypatch.undo()
    gan_recipe.fit(tiny(tmp_path / "called", schedule={"kind": "constant"}, **{**option, "trainer": {}}))
    assert final_files(tmp_path / "replayed") == final_files(tmp_path / "called")


def test_a_replayed_classifier_run_equals_an_eager_one(tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    replayed = classifier_recipe.fit(tiny_classifier(tmp_path / "replayed", augmentation={"mixup": 0.4, "cutmix": 0.0}))
    assert recorder.recorded == 1
    monkeypatch.undo()
    called = classifier_recipe.fit(tiny_classifier(tmp_path / "called", augmentation={"mixup": 0.4, "cutmix": 0.0}))
    assert final_files(tmp_path / "replayed") == final_files(tmp_path / "called")
    assert replayed == called


def test_an_iteration_that_cannot_be_captured_is_called_and_reported(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    said: list[str] = []

    def iteration(variant: None, inputs: tuple[Tensor]) -> None:
        weight.data.add_(inputs[0])

    class Refusing(Recorder):
        def record(self, function: Callable[[], None]) -> Callable[[], None]:
            raise RuntimeError("operation not permitted when stream is capturing\nmore lines")

    engine = GraphEngine(iteration, state=lambda: [weight], recorder=Refusing(), say=said.append)
    for step in range(3):
        engine.run(None, (torch.full((3,), float(step)),))
    assert weight.tolist() == [4.0] * 3
    assert said == [
        "iterations are run operation by operation, not as a CUDA graph: the capture failed "
        "(operation not permitted when stream is capturing)"
    ]


def test_the_reason_against_a_graph_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    options: dict[str, Any] = {"state": lambda: [], "say": said.append}
    cpu = torch.device("cpu")
    assert isinstance(build_engine("auto", print, device=cpu, processes=1, **options), EagerEngine)
    assert said == []
    assert isinstance(build_engine("cuda_graph", print, device=cpu, processes=1, **options), EagerEngine)
    gpu = torch.device("cuda")
    monkeypatch.setattr("torch.distributed.get_backend", lambda: "gloo")
    assert isinstance(build_engine("cuda_graph", print, device=gpu, processes=2, **options), EagerEngine)
    assert isinstance(build_engine("auto", print, device=gpu, processes=2, **options), EagerEngine)
    assert ["it needs a CUDA device" in said[0], "gloo averages gradients on the host" in said[1]] == [True, True]
    assert len(said) == 2
    monkeypatch.setattr("gconv_gan.training.engine.recorder_of_run", lambda _: Recorder())
    assert isinstance(build_engine("auto", print, device=gpu, processes=1, **options), GraphEngine)
    monkeypatch.setattr("torch.distributed.get_backend", lambda: "nccl")
    assert isinstance(build_engine("cuda_graph", print, device=gpu, processes=2, **options), GraphEngine)
    assert isinstance(build_engine("auto", print, device=gpu, processes=2, **options), EagerEngine)
    assert isinstance(build_engine("eager", print, device=gpu, processes=2, **options), EagerEngine)
    assert len(said) == 2
