"""Status lines: time left, their legend, and what a finished run says."""

import importlib
import json
import re
import shlex
from pathlib import Path

import pytest
import torch
from PIL import Image

from gconv_gan import verbs
from gconv_gan.commands.train import gan, next_steps
from gconv_gan.config.load import parse_command
from gconv_gan.config.sections.scores import ScoreCommand
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


def printed_commands(printed: str) -> dict[str, list[str]]:
    """Return verb -> arguments of the commands that a finished run ended with."""
    lines = printed.splitlines()
    commands = [shlex.split(line) for line in lines[lines.index("next:") + 1 :]]
    assert {script for script, *_ in commands} == {verbs.CONSOLE_SCRIPT}
    return {verb: arguments for _, verb, *arguments in commands}


def test_the_commands_that_a_finished_run_prints_run_as_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("timm")
    monkeypatch.setattr(next_steps, "available_extractors", lambda: ["efficientnet_lite0"])
    monkeypatch.chdir(tmp_path)
    draw = torch.Generator().manual_seed(0)
    Path("my pictures").mkdir()
    for index in range(24):  # fewer than any protocol compares with
        pixels = torch.randint(0, 256, (8, 8, 3), dtype=torch.uint8, generator=draw)
        Image.fromarray(pixels.numpy()).save(f"my pictures/{index}.png")
    data = {"kind": "folder", "path": "my pictures", "size": 8, "split": None}
    gan.fit(tiny(Path("runs"), name="mine", conditional=False, data=data, trainer={"total_images": 32, "log_every": 10_000}))
    printed = capsys.readouterr().out
    assert len(re.findall(r"^ +0\.0 kimg .* D \S+  G \S+ ", printed, re.MULTILINE)) == 1  # shorter than log_every: one line, at the end
    commands = printed_commands(printed)
    assert list(commands) == ["gallery", "score", "doctor", "export", "sample"]
    for verb, arguments in commands.items():
        importlib.import_module(verbs.VERBS[verb].module).main(arguments)
    (score,) = Path("runs/mine/scores").glob("*.json")
    card = json.loads(score.read_text())["card"]["formula"]
    assert (card["num_fake"], card["num_real"]) == (2_000, 24)
    assert Path("runs/mine/samples-32.zip").is_file()


def test_the_score_that_is_printed_is_the_one_of_training(tmp_path: Path) -> None:
    evaluation = {"every": 160, "protocol": "fd1k_classifier", "extractor": "checkpoint:a judge", "num_fake": 50, "num_real": 30}
    config = tiny(tmp_path, evaluation={**evaluation, "metrics": ["kid"], "batch_norm": "standing"})
    (score,) = (line for line in next_steps.next_steps(config, Path("r"), images_seen=480, num_images=100) if " score " in line)
    options = parse_command(ScoreCommand, shlex.split(score)[2:])
    assert (options.protocol, options.extractor, options.metrics) == (("fd1k_classifier",), ("checkpoint:a judge",), ("kid",))
    assert (options.num_fake, options.num_real, options.batch_norm) == (50, 30, "standing")


def test_absent_weights_are_downloaded_by_the_printed_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(next_steps, "available_extractors", list)
    (score,) = (line for line in next_steps.next_steps(tiny(tmp_path), Path("r"), images_seen=480, num_images=5_000) if " score " in line)
    options = parse_command(ScoreCommand, shlex.split(score)[2:])
    assert (options.protocol, options.download, options.num_real) == (("fid2k",), True, None)
