"""Commands on a full disk: exit code 3, one sentence, and results completed before are intact."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from gconv_gan.runtime.tracking import read_metrics
from gconv_gan.training.checkpoint import checkpoints, damage
from tests.processes import run_python
from tests.training.tiny import final_files, toml

ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def disk(folder: Path, kib: int) -> Iterator[Path]:
    """Mount a file system of ``kib`` KiB for the body."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs the rights of an administrator")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def run(*command: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return run_python(command, env=environment)


def assert_full(ended: "subprocess.CompletedProcess[str]", place: object) -> None:
    assert ended.returncode == 3, ended.stderr
    complaint = [line for line in ended.stderr.splitlines() if not line.startswith("warning: ") and not line.endswith(" left")]
    assert len(complaint) == 1, ended.stderr
    assert f"the disk that holds {place}" in ended.stderr
    assert ended.stderr.endswith(" is whole. Free some space and start again\n")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a config, a trained run and a classifier."""
    folder = tmp_path_factory.mktemp("home")
    small = ["--trainer.total-images", "640", "--network.width", "8", "--runs-dir", str(folder), "--name", "judge"]
    caches = ["--data.cache-dir", str(folder / "cache"), "--test-data.cache-dir", str(folder / "cache")]
    for ended in (
        run("train_gan.py", str(toml(folder))),
        run("train_classifier.py", "configs/classify/digits.toml", *small, *caches),
    ):
        assert ended.returncode == 0, ended.stderr
    return folder


def test_training_keeps_its_checkpoints_and_goes_on_exactly(home: Path, tmp_path: Path) -> None:
    with disk(tmp_path / "disk", 450) as small:
        command = ["train_gan.py", str(home / "tiny.toml"), "--runs-dir", str(small)]
        assert_full(run(*command), small / "tiny")
        kept = checkpoints(small / "tiny")
        assert kept
        assert all(damage(path) is None for _, path in kept)
        subprocess.run(["mount", "-o", "remount,size=50m", str(small)], check=True)
        assert run(*command).returncode == 0
        assert final_files(small) == final_files(home)


@pytest.mark.parametrize("kib", [16, 60])
def test_a_full_disk_before_the_first_checkpoint(kib: int, home: Path, tmp_path: Path) -> None:
    """The config, the first grids, the log, the metrics, the events: there are no checkpoints before the end."""
    with disk(tmp_path / "disk", kib) as small:
        often = ["--trainer.checkpoint-every", "64000", "--trainer.log-every", "1", "--trainer.total-images", "64000"]
        assert_full(run("train_gan.py", str(home / "tiny.toml"), "--runs-dir", str(small), *often), small / "tiny")


def test_a_full_disk_for_metrics_loses_none_that_a_resumed_run_keeps(home: Path, tmp_path: Path) -> None:
    with disk(tmp_path / "disk", 4000) as small:
        shutil.copytree(home / "tiny", small / "tiny")
        shutil.rmtree(small / "tiny" / "checkpoint-480")
        lines = read_metrics(small / "tiny" / "metrics.jsonl")
        fill(small)
        assert_full(run("train_gan.py", str(home / "tiny.toml"), "--runs-dir", str(small)), small / "tiny")
        assert read_metrics(small / "tiny" / "metrics.jsonl")[: len(lines)] == lines


def test_a_classifier_on_a_full_disk(home: Path, tmp_path: Path) -> None:
    with disk(tmp_path / "disk", 60) as small:
        caches = ["--data.cache-dir", str(home / "cache"), "--test-data.cache-dir", str(home / "cache")]
        assert_full(
            run("train_classifier.py", "configs/classify/digits.toml", "--runs-dir", str(small), "--name", "c", *caches), small / "c"
        )


def fill(folder: Path) -> None:
    """Leave no byte."""
    with contextlib.suppress(OSError), (folder / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1024))


SCORES = ["eval/gan_metrics.py", "RUN", "--extractor", "checkpoint:JUDGE", "--num-fake", "64", "--metrics", "fid"]
COMMANDS: dict[str, tuple[int, Sequence[str]]] = {
    "export": (20, ["-m", "gconv_gan.export", "RUN", "--out", "DISK/exported"]),
    "gallery": (40, ["eval/make_gallery.py", "RUN", "--out", "DISK/gallery", "--extractor", "checkpoint:JUDGE"]),
    "scores": (0, [*SCORES, "--cache-dir", "CACHE", "--json", "DISK/scores.json"]),
    "statistics of the reference": (90, [*SCORES, "--cache-dir", "DISK"]),
    "cache of the data": (0, ["-m", "gconv_gan.data.prepare", "digits", "--cache-dir", "DISK"]),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_on_a_full_disk(name: str, home: Path, tmp_path: Path) -> None:
    room, words = COMMANDS[name]
    with disk(tmp_path / "disk", 4 + room) as small:
        if not room:
            fill(small)
        places = {"DISK": small, "RUN": home / "tiny", "JUDGE": home / "judge", "CACHE": home / "cache"}
        command = []
        for word in words:
            for key, place in places.items():
                word = word.replace(key, str(place))
            command.append(word)
        ended = run(*command)
        if name == "cache of the data":  # which knows beforehand what it needs
            assert ended.returncode == 3
            assert f"1,797 images of 8×8 need 0.0 GiB in {small}, where 0.0 GiB are free; choose another folder" in ended.stderr
        else:
            assert_full(ended, small)
        assert not [path for path in small.rglob("*") if path.name.endswith(".partial")]
