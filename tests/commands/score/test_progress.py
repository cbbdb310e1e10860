"""Scores show their progress, and an interrupt ends them without a traceback."""

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
from pathlib import Path

import pytest

from gconv_gan.commands.score import progress
from gconv_gan.commands.score.progress import Progress

ROOT = Path(__file__).parents[3]


def scoring(run: Path, judge: Path, stderr: int) -> subprocess.Popen[str]:
    options = ["--extractor", f"checkpoint:{judge}", "--metrics", "fid", "--num-fake", "400000", "--cache-dir", str(run.parent / "scores")]
    return subprocess.Popen(
        [sys.executable, "-m", "gconv_gan", "score", str(run), *options],
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # tests in the background of a shell ignore it
    )


def test_an_interrupt_ends_a_score_without_a_traceback(run: Path, judge: Path) -> None:
    process = scoring(run, judge, subprocess.PIPE)
    killer = threading.Timer(300, process.kill)
    killer.start()
    assert process.stderr is not None
    line = next(line for line in process.stderr if line.startswith("scored: "))
    process.send_signal(signal.SIGINT)
    out, rest = process.communicate()
    killer.cancel()
    assert line.startswith("scored: 256 of 400,000 images, ")
    assert line.endswith(" left\n")
    assert process.returncode == 128 + signal.SIGINT
    assert "Traceback" not in rest
    assert not out
    assert not list((run / "scores").glob("*.json"))


def test_on_a_terminal_it_is_a_bar(run: Path, judge: Path) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    process = scoring(run, judge, theirs)
    os.close(theirs)
    killer = threading.Timer(300, process.kill)
    killer.start()
    shown = ""
    while "scored images:" not in shown:
        shown += os.read(ours, 1000).decode(errors="replace")
    process.send_signal(signal.SIGINT)
    process.communicate()
    killer.cancel()
    assert process.returncode == 128 + signal.SIGINT


def test_lines_are_rare_and_the_last_block_needs_none(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    times = iter([0.0, 1.0, 2.0, 40.0, 41.0])
    monkeypatch.setattr(progress.time, "perf_counter", lambda: next(times))
    seen = Progress("scored")
    for done in (256, 512, 768, 1024):
        seen(done, 1024)
    assert capsys.readouterr().err.splitlines() == [
        "scored: 256 of 1,024 images, 0:00:03 left",
        "scored: 768 of 1,024 images, 0:00:13 left",
    ]
