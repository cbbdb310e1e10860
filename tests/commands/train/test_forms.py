"""The forms of convolutions: measured once, stored, recorded in checkpoints, used in training alone; the rule without a measurement."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from gconv_gan.commands.train import forms
from gconv_gan.commands.train import gan as recipe
from gconv_gan.commands.train.networks import build_networks
from gconv_gan.config.load import merged
from gconv_gan.layers.forms import choose_forms, with_forms
from gconv_gan.runtime.run_folder import MAY_CHANGE
from gconv_gan.training.checkpoint import STATE
from tests.processes import run_two
from tests.training.test_two_processes import ADAM, free_ports, weights
from tests.training.tiny import tiny

BANK: dict[str, Any] = {
    "generator": {"conv": {"kind": "gconv", "mode": "bank", "num_kernels": 2}},
    "generator_optimizer": ADAM,
    "discriminator_optimizer": ADAM,
    "schedule": {"kind": "constant"},
    "trainer": {"total_images": 160, "checkpoint_every": 160, "measure": True},
}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Let the last form of every layer win, after the forms were really run; return what was timed."""
    timed: list[dict[str, Any]] = []

    def last(taken: dict[str, list[float]]) -> str:
        timed.append(taken)
        assert all(len(seconds) >= forms.FEWEST and min(seconds) > 0 for seconds in taken.values())
        return list(taken)[-1]

    monkeypatch.setattr(forms, "fastest", last)
    monkeypatch.setattr(forms, "MORE_MEMORY", 100)
    monkeypatch.setattr(forms, "SECONDS", 0)
    return timed


def forms_in(run: Path, images: int) -> Any:
    return json.loads((run / f"checkpoint-{images}" / STATE).read_text())["forms"]


def test_forms_are_measured_once_and_kept_by_the_run(tmp_path: Path, clock: list[dict[str, Any]], caplog: pytest.LogCaptureFixture) -> None:
    recipe.fit(tiny(tmp_path, **BANK))
    count = len(clock)
    found = forms_in(tmp_path / "tiny", 160)
    assert found["generator"] == {"blocks.0.conv1": "concat", "blocks.0.conv2": "concat"}
    assert set(found["discriminator"].values()) == {"apart"}
    assert set(clock[0]) == {"rule", "grouped", "unfused", "bmm", "wide", "concat"}
    assert "forms of the generator's convolutions, 2 measured in " in caplog.text
    stored = json.loads((tmp_path / "cache" / forms.FILE).read_text())
    assert len(stored) == count
    assert all(entry["ms"].keys() == entry["bytes"].keys() for entry in stored.values())

    recipe.fit(tiny(tmp_path, **merged(BANK, {"name": "second", "seed": 4})))  # equal shapes: nothing is measured
    assert len(clock) == count
    assert forms_in(tmp_path / "second", 160) == found
    recipe.fit(tiny(tmp_path, **merged(BANK, {"name": "rule", "trainer": {"measure": "auto"}})))  # a CPU is measured on request
    assert len(clock) == count
    assert forms_in(tmp_path / "rule", 160) == {"generator": {}, "discriminator": {}}
    ours, theirs = weights(tmp_path, "tiny"), weights(tmp_path, "rule")
    for name, value in ours.items():  # the forms are exact: they change the rounding alone
        torch.testing.assert_close(value, theirs[name], rtol=1e-3, atol=1e-4)
    assert any(not torch.equal(value, theirs[name]) for name, value in ours.items())


def test_a_resumed_run_has_the_forms_of_its_checkpoints_whatever_is_stored(tmp_path: Path, clock: list[dict[str, Any]]) -> None:
    longer = merged(BANK, {"trainer": {"total_images": 320}})
    recipe.fit(tiny(tmp_path, **merged(longer, {"name": "whole"})))
    recipe.fit(tiny(tmp_path, **BANK))
    stored = tmp_path / "cache" / forms.FILE
    stored.write_text(stored.read_text().replace('"form": "concat"', '"form": "rule"').replace('"form": "apart"', '"form": "rule"'))
    count = len(clock)
    assert "trainer.measure" in MAY_CHANGE
    recipe.fit(tiny(tmp_path, **merged(longer, {"trainer": {"measure": False}})))
    assert len(clock) == count
    assert forms_in(tmp_path / "tiny", 320) == forms_in(tmp_path / "whole", 320)
    for file in ("generator", "discriminator", "ema", "generator_optimizer"):
        whole, resumed = ((tmp_path / run / "checkpoint-320" / f"{file}.safetensors").read_bytes() for run in ("whole", "tiny"))
        assert whole == resumed


def test_evaluation_has_the_form_of_the_rule(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build_networks(tiny(tmp_path, **BANK), 10)[0].eval()
    z, y = torch.randn(3, 6), torch.tensor([0, 1, 2])
    before = network(z, y)
    choose_forms(network, {name: layer.forms()[-1] for name, layer in with_forms(network).items()})
    assert torch.equal(network(z, y), before)


def test_every_form_computes_the_same_function(tmp_path: Path) -> None:
    torch.manual_seed(0)
    networks = [network.double() for network in build_networks(tiny(tmp_path, **BANK), 10)]
    inputs = [(torch.randn(4, 6).double(),), (torch.randn(4, 3, 8, 8).double(),)]
    for network, (x,) in zip(networks, inputs, strict=True):
        network.requires_grad_(False)
        for module in network.modules():  # power iterations advance with every access
            module.training = isinstance(module, torch.nn.Conv2d | torch.nn.BatchNorm2d) or module in with_forms(network).values()
        y = torch.arange(4)
        expected = network(x, y)
        for form in dict.fromkeys(form for layer in with_forms(network).values() for form in layer.forms()):
            choose_forms(network, {name: form for name, layer in with_forms(network).items() if form in layer.forms()})
            torch.testing.assert_close(network(x, y), expected, rtol=1e-10, atol=1e-11)


def test_a_form_must_save_a_twentieth_and_not_take_a_quarter_more_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert forms.fastest({"rule": [1.0, 2.0, 1.0], "a": [0.96, 1.92, 0.5], "b": [0.97, 1.94, 0.97]}) == "rule"
    assert forms.fastest({"rule": [1.0, 2.0, 1.0], "a": [0.9, 1.8, 2.0], "b": [0.8, 1.6, 0.8]}) == "b"
    monkeypatch.setattr(forms, "fastest", lambda taken: str(list(taken)[-1]))
    monkeypatch.setattr(forms, "peak_bytes", lambda _run, device: next(sizes))
    monkeypatch.setattr(forms, "SECONDS", 0)
    sizes = iter([100, 120, 126])
    layer = build_networks(tiny(tmp_path, **BANK), 10)[0].blocks[0].conv1
    monkeypatch.setattr(type(layer), "forms", lambda _: ("unfused", "bmm"))
    accelerator = recipe.build_accelerator(tiny(tmp_path, **BANK))
    found = forms._measured(layer, (torch.randn(4, 8, 4, 4), torch.randn(4, 6)), forms.Setting(None, "auto", accelerator))
    assert found["form"] == "unfused"
    assert found["bytes"] == {"rule": 100, "unfused": 120, "bmm": 126}


def one_of_two(rank: int, folder: str, port: int) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "ACCELERATE_USE_CPU": "true"}
    os.environ["MASTER_PORT"] = str(port)
    forms.fastest = lambda taken: list(taken)[1 + rank]  # each process would choose another
    config = tiny(Path(folder), **BANK)
    accelerator = recipe.build_accelerator(config)
    network = build_networks(config, 10)[0]
    found = forms.measured_forms(
        {"generator": lambda: (network, (torch.zeros(4, 6), torch.zeros(4, dtype=torch.long)))},
        {"generator": "channels_last"},
        forms.Setting(None, "auto", accelerator),
        measure=True,
        resumes_from=None,
        cache_dir=Path(folder) / "cache",
        say=print,
    )
    (Path(folder) / f"{rank}.json").write_text(json.dumps(found))
    accelerator.end_training()


def test_all_processes_take_what_the_first_has_measured(tmp_path: Path) -> None:
    run_two(one_of_two, str(tmp_path), *free_ports(1))
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    assert len(first["generator"]) == 2
