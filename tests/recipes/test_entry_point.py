"""How scripts end, as the person who typed the command sees it: exit code, one sentence, no traceback."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gconv_gan.config.errors import UserError
from gconv_gan.recipes.entry_point import run_script
from gconv_gan.training.guards import GuardError, StoppedBySignalError

ROOT = Path(__file__).parents[2]


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
        (OSError(errno.ENOSPC, "No space left", "runs/x"), 3, "runs/x: the disk is full; free some space and start again"),
        (StoppedBySignalError(15), 143, "stopped by SIGTERM after saving"),
        (StoppedBySignalError(2), 130, "stopped by SIGINT after saving"),
    ],
)
def test_what_is_meant_for_the_user_is_one_sentence(error: Exception, code: int, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(SystemExit) as stop:
        run_script(fail)
    assert stop.value.code == code
    assert capsys.readouterr().err.endswith(f": {sentence}\n")


def test_a_programmers_mistake_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run_script(lambda: print(1 / 0))


def test_an_error_that_names_no_file_keeps_its_traceback() -> None:
    def fail() -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    with pytest.raises(BrokenPipeError):
        run_script(fail)


def test_done_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
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
def test_a_mistake_at_the_shell(command: list[str], expected: str) -> None:
    ended = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert ended.returncode == 2, ended.stderr
    assert expected in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1
    assert "Traceback" not in ended.stderr
