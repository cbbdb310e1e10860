"""gpu_check on a CPU: its record of speed is complete, and a part that exceeds its time limit is stopped."""

import json
import re
import sys
from pathlib import Path

import pytest

from gconv_gan.commands.cost import gpu_check, speed_record
from gconv_gan.commands.cost.record import FUSED_NORMS
from gconv_gan.commands.cost.speed_record import CASES
from gconv_gan.config.errors import UserError
from tests.data.made import noise, save


def test_its_record_holds_every_case_with_times_that_fit_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(64):
        save(tmp_path / "pictures/train/one" / f"{i}.png", noise(i, 32, 32, 3))
    monkeypatch.setattr(gpu_check, "SPEED_SECONDS", {"fp32": 300.0})
    out = tmp_path / "out"
    places = ["--data-path", str(tmp_path / "pictures"), "--cache-dir", str(tmp_path / "cache"), "--out", str(out)]
    gpu_check.main(["--only", "speed", "--tiny", *places])
    [file] = out.glob("*.json")
    record = json.loads(file.read_text())
    assert [one["case"] for one in record["cases"] if one["engine"] == "eager"] == list(CASES)
    assert record["commit"]
    assert [one["name"] for one in record["ratios"]].count(FUSED_NORMS) == 1  # its two cases are one where all is tiny
    by_case = {one["case"]: one for one in record["cases"]}
    assert by_case["sngan plain"]["joined_steps"] == 2
    assert by_case["sngan plain, a pass of G for each step"]["joined_steps"] == 1
    assert by_case["sngan bank"]["forms"] == {"generator": {}, "discriminator": {}}  # a CPU is measured on request alone
    for one in record["cases"]:
        low, high = one["quartiles"]
        assert 0 < low <= one["milliseconds"] <= high
        # two operations a multiply-add
        assert one["tflops"] == pytest.approx(2 * one["macs"] / (one["milliseconds"] / 1000) / 1e12)


def test_a_part_over_its_time_limit_is_stopped_and_its_output_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-c", "import time; print('begun', flush=True); time.sleep(60)"]
    gpu_check.run(gpu_check.Part("slow", command, 2.0), tmp_path)
    assert (tmp_path / "slow.txt").read_text() == "begun\n"
    assert "slow: stopped after 2 s" in capsys.readouterr().out


def test_its_options_are_refused_as_those_of_every_command(tmp_path: Path) -> None:
    flags = ["--data-path", "here", "--out", str(tmp_path / "out"), "--seconds", "400", "--seeds", "3"]
    for wrong, sentence in (
        (["--only", "test"], "--only: 'test' is not among "),
        (["--second", "4"], "unknown option --second; did you mean --seconds?"),
        (["--seconds", "-1"], "--seconds: Input should be greater than 0, got -1"),
    ):
        with pytest.raises(UserError, match=f"^command line: {re.escape(sentence)}"):
            gpu_check.main([*flags, *wrong])
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="^command line: --record and --data-path must be given"):
        speed_record.main([])
