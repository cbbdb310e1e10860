"""The memory layout of networks: measured once, stored, kept by the run; channels last without a measurement."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gconv_gan.commands.train import classifier as classifier_recipe
from gconv_gan.commands.train import gan as recipe
from gconv_gan.commands.train import layouts
from gconv_gan.commands.train.networks import build_networks
from gconv_gan.runtime import capture
from gconv_gan.training.checkpoint import STATE
from tests.reference.recorder import Recorder
from tests.training.test_two_processes import weights as weights_of
from tests.training.tiny import tiny
from tests.training.tiny_classifier import tiny_classifier

SHORT: dict[str, Any] = {"trainer": {"total_images": 160, "checkpoint_every": 160}, "schedule": {"kind": "constant"}}


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Let a CPU measure, with a clock for which the discriminator is faster with contiguous maps; return the sets of timed replays."""
    made: list[Any] = []

    def rounds(candidates: dict[Any, Callable[[], None]], **_: Any) -> dict[Any, list[float]]:
        for run in candidates.values():
            run()
        made.append(candidates)
        share = 0.9 if len(made) == 2 else 0.96
        return {"channels_last": [1.0, 2.0, 1.0], "contiguous": [share, 2 * share, 7.0]}

    monkeypatch.setattr(capture, "captures", lambda _: True)
    monkeypatch.setattr(capture, "recorder", lambda _: Recorder())
    monkeypatch.setattr(layouts, "rounds", rounds)
    return made


def layouts_in(run: Path, images: int) -> Any:
    return json.loads((run / f"checkpoint-{images}" / STATE).read_text())["layouts"]


def test_the_faster_layout_is_stored_and_used_and_kept_by_a_resumed_run(tmp_path: Path, measured: list[Any]) -> None:
    recipe.fit(tiny(tmp_path, **SHORT))
    assert len(measured) == 2
    assert layouts_in(tmp_path / "tiny", 160) == {"generator": "channels_last", "discriminator": "contiguous"}
    stored = json.loads((tmp_path / "cache" / layouts.FILE).read_text())
    assert sorted(entry["layout"] for entry in stored.values()) == ["channels_last", "contiguous"]
    recipe.fit(tiny(tmp_path, name="second", seed=4, **SHORT))  # the same networks: nothing is measured
    recipe.fit(tiny(tmp_path, name="other", generator={"width": 16}, **SHORT))
    assert len(measured) == 3
    (tmp_path / "cache" / layouts.FILE).unlink()
    recipe.fit(tiny(tmp_path, **{**SHORT, "trainer": {"total_images": 320, "checkpoint_every": 160}}))
    assert len(measured) == 3
    assert layouts_in(tmp_path / "tiny", 320)["discriminator"] == "contiguous"


def test_fused_kernels_are_chosen_where_they_are_faster_and_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timed: list[list[bool]] = []

    def rounds(candidates: dict[Any, Callable[[], None]], **_: Any) -> dict[Any, list[float]]:
        timed.append([name.endswith("fused") for name in candidates])
        return {name: [0.8 if name == "channels_last_fused" else 1.0] for name in candidates}

    monkeypatch.setattr(capture, "captures", lambda _: True)
    monkeypatch.setattr(capture, "recorder", lambda _: Recorder())
    monkeypatch.setattr(layouts, "rounds", rounds)
    monkeypatch.setattr(layouts, "fused_kernels_work", lambda *_: True)
    norms = build_networks(tiny(tmp_path), 10)[0].modules()
    assert not any(getattr(norm, "fused", False) for norm in norms)
    recipe.fit(tiny(tmp_path, **SHORT))
    assert timed == [[False, False, True, True], [False, False]]  # the discriminator has no such norm
    assert layouts_in(tmp_path / "tiny", 160) == {"generator": "channels_last_fused", "discriminator": "channels_last"}
    recipe.fit(tiny(tmp_path, **{**SHORT, "trainer": {"total_images": 320, "checkpoint_every": 160}}))
    assert layouts_in(tmp_path / "tiny", 320)["generator"] == "channels_last_fused"


def test_kernels_that_fail_are_said_and_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(device: torch.device) -> None:
        raise RuntimeError("they compute other values")

    said: list[str] = []
    monkeypatch.setattr(layouts, "triton_is_installed", lambda: True)
    monkeypatch.setattr(layouts, "check_fused_kernels", failing)
    assert not layouts.fused_kernels_work(torch.device("cuda"), said.append)
    assert "not used" in said[0]
    assert "other values" in said[0]


def test_the_layout_changes_a_run_by_rounding_alone(tmp_path: Path, measured: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    adam = {"learning_rate": 0.02, "eps": 0.1}
    # a seed at which no rectifier's input comes within rounding of 0, where one layout would let a gradient pass and the other would not
    changes = {**SHORT, "generator_optimizer": adam, "discriminator_optimizer": adam, "seed": 0}
    recipe.fit(tiny(tmp_path, name="measured", **changes))
    assert measured
    monkeypatch.undo()
    recipe.fit(tiny(tmp_path, name="rule", **changes))
    assert layouts_in(tmp_path / "rule", 160) == dict.fromkeys(("generator", "discriminator"), "channels_last")
    ours, theirs = weights_of(tmp_path, "measured"), weights_of(tmp_path, "rule")
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-3, atol=1e-4)


def test_contiguous_maps_stay_contiguous_in_the_whole_network(tmp_path: Path) -> None:
    network = layouts.laid_out(build_networks(tiny(tmp_path), 10)[1], "contiguous")
    seen = []
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda _module, _inputs, output: seen.append(output.is_contiguous()))
    x = torch.randn(2, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    network(x, torch.zeros(2, dtype=torch.long))
    assert seen
    assert all(seen)


def test_a_network_that_cannot_be_measured_has_the_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Refusing(Recorder):
        def record(self, function: Callable[[], None]) -> Callable[[], None]:
            raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(capture, "captures", lambda _: True)
    monkeypatch.setattr(capture, "recorder", lambda _: Refusing())
    scores = classifier_recipe.fit(tiny_classifier(tmp_path))
    assert scores["accuracy"] > 0
    assert "the classifier's layout is channels last, and was not measured" in caplog.text
    assert layouts_in(tmp_path / "tiny", 480) == {"classifier": "channels_last"}
