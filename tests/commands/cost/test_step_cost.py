"""What an iteration costs: operations are counted once each, and belong to the file whose formula they compute."""

import re
from typing import Any

import pytest

from gconv_gan.commands.cost import step_cost
from gconv_gan.config.errors import UserError

SMALL = ["--generator.width", "8", "--discriminator.width", "8", "--trainer.batch-size", "4", "--trainer.n-dis", "2"]
ROW = r"^ *(\d+) forward +(\d+) backward  (\S+)$"


def counts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *changes: str) -> tuple[int, dict[str, tuple[int, int]]]:
    monkeypatch.setattr(step_cost, "BLOCKS", 2)
    monkeypatch.setattr(step_cost, "BLOCK", 1)
    step_cost.main(["configs/gan/cifar10_small.toml", *SMALL, *changes])
    text = capsys.readouterr().out
    total = re.search(r"^(\d+) operations", text, re.MULTILINE)
    assert total
    assert re.match(r"[\d.]+ ms of processor time an iteration", text)
    return int(total[1]), {file: (int(forward), int(backward)) for forward, backward, file in re.findall(ROW, text, re.MULTILINE)}


@pytest.mark.usefixtures("fresh_accelerate_state")
def test_operations_belong_to_files(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def counted(*changes: str) -> Any:
        return counts(monkeypatch, capsys, *changes)

    total, files = counted()
    assert sum(map(sum, files.values())) == total
    assert files.keys() >= {"layers/resample.py", "layers/lipschitz/spectral_norm.py", "losses/adversarial.py", "optim/ema.py"}
    assert "outside" not in files
    assert files["losses/adversarial.py"] == (2 * 5 + 1, 2 * 3 + 1)  # two hinges and a sum each, a sign; their derivatives
    penalised, with_penalty = counted("--objective.penalty.kind", "r1")
    assert sum(map(sum, with_penalty.values())) == penalised > total
    assert with_penalty["losses/penalties.py"][1] > 0
    assert with_penalty["losses/double_backward.py"][1] > 0
    assert with_penalty["optim/ema.py"] == files["optim/ema.py"]


def test_a_config_is_needed() -> None:
    with pytest.raises(UserError, match="give a config file"):
        step_cost.main([])
