"""Status lines: time left, their legend, and what a finished run says."""

import re
import shlex
from pathlib import Path

import pytest

from gconv_gan import verbs
from gconv_gan.commands.train import gan
from gconv_gan.config.load import parse_command
from gconv_gan.training.report import LABELS, LEGEND, clock
from tests.training.tiny import tiny


def test_the_log_has_a_legend_of_what_its_lines_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gan.fit(tiny(tmp_path))
    lines = (tmp_path / "tiny" / "log.txt").read_text().splitlines()
    status = [line for line in lines if " s/kimg " in line]
    assert lines.index(status[0]) == 1
    assert lines[0].startswith("legend: kimg: thousands of real images seen; s/kimg: ")
    for word in ("D", "acc real", "|grad G|", "gate H", "GiB", "left"):
        assert f"; {word}: " in lines[0]
    assert "LeCam: " not in lines[0]
    assert sum(line.startswith("legend") for line in lines) == 1
    assert all(re.search(r" s/kimg  \d+:\d\d:\d\d left  D ", line) for line in status[:-1])
    assert "left" not in status[-1]
    assert "legend:" not in capsys.readouterr().out


def test_every_label_is_explained() -> None:
    of_methods = {label for name, label in LABELS.items() if "effective" in name or "angular" in name}
    assert set(LABELS.values()) - of_methods <= set(LEGEND)


@pytest.mark.parametrize(("seconds", "shown"), [(0.0, "0:00:00"), (59.6, "0:01:00"), (3723.0, "1:02:03"), (4e5, "111:06:40")])
def test_the_time_left_is_in_hours_minutes_and_seconds(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown


def test_a_finished_run_says_what_to_do_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import importlib

    gan.fit(tiny(tmp_path, trainer={"total_images": 32}))
    printed = capsys.readouterr().out.splitlines()
    commands = [shlex.split(line) for line in printed[printed.index("next:") + 1 :]]
    assert [words[1] for words in commands] == ["gallery", "score", "doctor", "export", "sample"]
    for script, verb, *arguments in commands:
        assert script == verbs.CONSOLE_SCRIPT
        entry = verbs.VERBS[verb]
        parsed = parse_command(getattr(importlib.import_module(entry.module), entry.options), arguments)
        assert str(tmp_path / "tiny") in str(parsed)
