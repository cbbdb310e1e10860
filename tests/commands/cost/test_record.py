"""A record of speed: rows replace their predecessors, pairs become quartiles, floors and exponents are right by hand."""

import json
from pathlib import Path

import pytest
import torch

from gconv_gan.commands.cost.record import SpeedRecord, bytes_moved, commits, exponent, floor_ms, newest, record_path, speed_ratio


def test_two_processes_may_add_to_one_file(tmp_path: Path) -> None:
    file = record_path(tmp_path)
    one, other = SpeedRecord(file), SpeedRecord(file)
    one.add("laws", {"axis": "batch", "value": 1}, key=("axis",))
    other.add("laws", {"axis": "width", "value": 2}, key=("axis",))
    one.add("laws", {"axis": "batch", "value": 3}, key=("axis",))
    held = json.loads(file.read_text())
    assert [(row["axis"], row["value"]) for row in held["laws"]] == [("width", 2), ("batch", 3)]
    assert commits(held) == [held["commit"]]
    assert {"commit", "date", "device", "versions", "threads"} <= held.keys()


def test_a_record_names_the_commit_of_every_part() -> None:
    old = {"commit": "a", "laws": [{"axis": "batch"}, {"axis": "width", "commit": "b"}], "ceilings": {}}
    assert commits(old) == ["a", "b"]


def test_the_newest_record_of_a_device_counts(tmp_path: Path) -> None:
    for day in ("2026-01-02", "2026-01-01", "2025-12-31"):
        (tmp_path / f"{day}_cpu.json").write_text(json.dumps({"device": "cpu", "versions": {}, "date": day}))
    (tmp_path / "ablation.json").write_text("{}")
    assert {name: record["date"] for name, record in newest(tmp_path).items()} == {"cpu": "2026-01-02"}


def test_a_ratio_is_the_median_over_pairs() -> None:
    row = speed_ratio("step", "a / b", "", [(2.0, 1.0), (9.0, 3.0), (4.0, 1.0)])
    assert (row.median, row.quartiles, row.pairs, row.milliseconds) == (3.0, (2.5, 3.5), 3, 1000.0)


def test_a_floor_is_the_larger_of_arithmetic_and_bytes() -> None:
    limits = {"conv fp32 TFLOP/s": 2.0, "copy TB/s": 1.0}
    assert floor_ms(limits, macs=10**12) == pytest.approx(1000)
    assert floor_ms(limits, macs=10**12, moved=3 * 10**12) == pytest.approx(3000)


def test_bytes_are_counted_at_every_operation_but_views() -> None:
    x = torch.zeros(100)
    assert bytes_moved(lambda: (x + 1).view(10, 10)) == 800  # one read and one written
    assert bytes_moved(lambda: x.view(10, 10).t()) == 0


def test_the_exponent_of_a_power_is_found() -> None:
    assert exponent([(x, 5 * x**1.7) for x in (1.0, 2.0, 5.0)]) == pytest.approx(1.7)
