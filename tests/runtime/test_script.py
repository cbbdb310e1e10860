"""Ends of scripts: exit code, one sentence, no traceback."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gconv_gan.config.errors import GuardError, StoppedBySignalError, UserError
from gconv_gan.runtime.script import run_script
from tests.processes import run_python

ROOT = Path(__file__).parents[2]
FULL = "{} is full; what was finished before, such as earlier checkpoints, is whole. Free some space and start again"


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (UserError("no such file"), 2, "no such file"),
        (GuardError("not finite"), 3, "not finite"),
        (
            NotADirectoryError(errno.ENOTDIR, "Not a directory", "README.md/x"),
            2,
            "README.md/x: Not a directory; check that the path is right and that you may read and write there",
        ),
        (OSError(errno.ENOSPC, "No space left", "runs/x"), 3, FULL.format("the disk that holds runs/x")),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), 3, FULL.format("a disk")),
        (StoppedBySignalError(15), 143, "stopped by SIGTERM after saving"),
        (StoppedBySignalError(2), 130, "stopped by SIGINT after saving"),
    ],
)
def test_user_errors_are_one_sentence(error: Exception, code: int, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(SystemExit) as stop:
        run_script(fail)
    assert stop.value.code == code
    assert capsys.readouterr().err.endswith(f": {sentence}\n")


def test_a_programmers_mistake_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run_script(lambda: print(1 / 0))


@pytest.mark.parametrize("error", [BrokenPipeError(errno.EPIPE, "Broken pipe"), ConnectionResetError(errno.ECONNRESET, "Reset")])
def test_an_error_that_names_no_file_keeps_its_traceback(error: OSError) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)):
        run_script(fail)


def test_what_main_returns_is_the_exit_code() -> None:
    with pytest.raises(SystemExit) as stop:
        run_script(lambda: 2)
    assert stop.value.code == 2


def test_success_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    run_script(lambda: None)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["train_gan.py", "configs/gan/digits_gconf.toml"], "configs/gan/digits_gconf.toml does not exist; did you mean"),
        (["train_gan.py", "configs/gan/digits_gconv.toml", "--generator.widht", "3"], "did you mean --generator.width?"),
        (
            ["train_gan.py", "configs/gan/digits_gconv.toml", "--runs-dir", "README.md"],
            "README.md/digits_gconv: README.md is a file, not a folder",
        ),
        (["eval/gan_metrics.py", "runs/no_such_run"], "runs/no_such_run"),
        (["-m", "gconv_gan.export", "runs/no_such_run"], "python -m gconv_gan.export: runs/no_such_run"),
    ],
)
def test_wrong_command_lines_are_one_sentence(command: list[str], expected: str) -> None:
    ended = run_python(command, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert ended.returncode == 2, ended.stderr
    assert expected in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1
    assert "Traceback" not in ended.stderr


PIPED = [
    ["-m", "gconv_gan.models.summary", "resnet50"],
    ["-m", "gconv_gan.data.prepare", "--help"],
    ["train_gan.py", "configs/gan/digits_gconv.toml", "--help"],
    ["eval/compare_layers.py", "--table"],
]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize("command", PIPED, ids=" ".join)
def test_a_closed_output_pipe_ends_a_command_silently(command: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as pipe:
        ended = subprocess.run(
            [sys.executable, *command], cwd=ROOT, stdout=pipe, stderr=subprocess.PIPE, text=True, check=False, env=environment()
        )
    assert ended.stderr == ""
    assert ended.returncode == 128 + signal.SIGPIPE


def test_a_closed_error_pipe_causes_no_traceback() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as pipe:
        ended = subprocess.run(
            [sys.executable, "train_gan.py", "none.toml"], cwd=ROOT, stdout=pipe, stderr=pipe, check=False, env=environment()
        )
    assert ended.returncode == 2


INTERRUPTED = [
    ("eval/conv_cost.py", 0),
    ("eval/conv_cost.py", 1.2),
    ("-m gconv_gan.models.summary wrn_16_4", 0),
    ("-m gconv_gan.data.prepare digits", 0),
]


@pytest.mark.parametrize(("words", "seconds"), INTERRUPTED)
@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's /proc")
def test_an_interrupt_ends_a_command_silently(words: str, seconds: float) -> None:
    command = subprocess.Popen(
        [sys.executable, *words.split()],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while "libtorch" not in Path(f"/proc/{command.pid}/maps").read_text():  # libraries are being imported
        assert command.poll() is None
        time.sleep(0.02)
    time.sleep(seconds)
    command.send_signal(signal.SIGINT)
    _, complaint = command.communicate(timeout=60)
    assert complaint == ""
    assert command.returncode == 128 + signal.SIGINT
