"""docs/speed.md is what its script writes from the records; ``UPDATE_GOLDEN=1`` writes it."""

import os
from pathlib import Path

import pytest

from gconv_gan.commands.cost import speed_page
from gconv_gan.commands.cost.record import newest
from gconv_gan.commands.cost.speed_page import CPU_TARGETS, GPU_TARGETS, Target, page
from gconv_gan.config.errors import UserError

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/speed.md"


def test_the_page_is_generated_from_the_newest_records(tmp_path: Path) -> None:
    written = tmp_path / "speed.md"
    speed_page.main(["--records", str(ROOT / "eval/speed/records"), "--out", str(written)])
    if os.environ.get("UPDATE_GOLDEN"):
        PAGE.write_text(written.read_text())
    assert PAGE.read_text() == written.read_text(), "python eval/speed/report.py writes docs/speed.md"


def test_every_target_has_a_line_on_every_device() -> None:
    text = PAGE.read_text()
    for name in newest(ROOT / "eval/speed/records"):
        for target in CPU_TARGETS if name == "cpu" else GPU_TARGETS:
            assert f"| {target.text} | " in text


def test_a_target_is_reached_missed_or_not_measured() -> None:
    faster = Target("speed", lambda record: record.get("x"), 2.0, at_least=True, obstacle="why")
    smaller = Target("size", lambda record: record.get("x"), 2.0, at_least=False, obstacle="why")
    assert faster.row({"x": 2.0}) == "| speed | ≥ 2 | **2** | reached |"
    assert faster.row({"x": 1.0}) == "| speed | ≥ 2 | **1** | missed by a factor of 2.00: why |"
    assert smaller.row({"x": 3.0}) == "| size | ≤ 2 | **3** | missed by a factor of 1.50: why |"
    assert smaller.row({}) == "| size | ≤ 2 | not measured on this device | |"


def test_without_a_record_it_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no record of speed; python eval/speed/bench\.py"):
        page(newest(tmp_path), speed_page.Links())
