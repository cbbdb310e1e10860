"""One function chooses the device of all commands."""

import re
from pathlib import Path

import pytest
import torch

from gconv_gan.runtime.device import command_device, device_name, process_state

ROOT = Path(__file__).parents[2]
OWN_RULES = (
    r"(?:cuda|accelerator)\.is_available\(|PartialState\(|torch\.device\(\"cuda|device=\"cuda|\.cuda\("
    r"|fork_rng\((?!devices=\[\])|manual_seed_all"
)


@pytest.mark.usefixtures("fresh_accelerate_state")
def test_the_environment_puts_a_command_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    assert (command_device(), device_name()) == (torch.device("cpu"), "cpu")
    assert process_state().is_main_process


@pytest.mark.usefixtures("fresh_accelerate_state")
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_is_used_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    assert command_device().type == "cuda"
    assert device_name() == torch.cuda.get_device_name()


def test_no_other_module_chooses_or_initialises_a_device() -> None:
    rule = ROOT / "gconv_gan/runtime/device.py"
    files = {path for pattern in ("*.py", "eval/**/*.py", "gconv_gan/**/*.py") for path in ROOT.glob(pattern)} - {rule}
    assert len(files) > 200
    assert [(path.name, hit) for path in files for hit in re.findall(OWN_RULES, path.read_text())] == []


def test_the_one_accelerator_is_made_after_the_rule_has_chosen_its_device() -> None:
    makers = [path for path in ROOT.glob("gconv_gan/**/*.py") if re.search("= Accelerator\\(", path.read_text())]
    assert [path.name for path in makers] == ["accelerator.py"]
    text = makers[0].read_text()
    assert text.index("process_state()") < text.index("= Accelerator(")
