"""The benchmark on a CPU: every part adds to one record, and a dry run is compared with its run."""

import json
from pathlib import Path

import pytest

from gconv_gan.commands.cost import bench
from gconv_gan.commands.cost.bench import AXES, VARIANTS, predicted_and_measured
from gconv_gan.commands.cost.record import D_STEP

PRESET = Path(__file__).parents[3] / "configs/gan/digits_gconv.toml"


def test_its_parts_share_one_record(tmp_path: Path) -> None:
    for part in ("step", "layers", "scores", "data", "laws", "step"):
        bench.main(["--tiny", "--pairs", "2", "--out", str(tmp_path), "--only", part])
    [file] = tmp_path.glob("*.json")
    record = json.loads(file.read_text())
    assert [row["name"] for row in record["ratios"] if row["part"] == "layers"] == [*VARIANTS, D_STEP]
    assert sum(row["part"] == "step" for row in record["ratios"]) == 1  # the later measurement replaces the earlier one
    assert {row["part"] for row in record["ratios"]} == {"step", "layers", "scores", "data"}
    for row in record["ratios"]:
        low, high = row["quartiles"]
        assert 0 < low <= row["median"] <= high
        assert row["pairs"] == 2
        if row["floor_ms"] is not None:
            limits = record["ceilings"]
            bounds = 2e-9 * row["macs"] / limits["conv fp32 TFLOP/s"], 1e-9 * row["bytes_moved"] / limits["copy TB/s"]
            assert row["floor_ms"] == pytest.approx(max(bounds))
    laws = {law["axis"]: law for law in record["laws"]}
    assert list(laws) == list(AXES)
    assert laws["batch"]["macs_exponent"] == pytest.approx(1)  # every image costs the same
    assert 1.8 < laws["width"]["macs_exponent"] < 2  # all but the outermost convolutions are quadratic
    assert 0.3 < laws["batch"]["memory_exponent"] < 1.1


def test_memory_of_a_run_is_that_which_its_dry_run_predicts_and_both_times_are_found() -> None:
    found = predicted_and_measured(str(PRESET), ["--generator.width", "48", "--trainer.batch-size", "64"], seconds=1.0)
    assert found["measured_gib"] == pytest.approx(found["predicted_gib"], rel=0.25)
    assert found["predicted_ms"] > 0  # how far apart they are is for the record: other load on the machine changes elapsed time
    assert found["measured_ms"] > 0
