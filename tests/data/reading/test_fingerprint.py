"""The content hash changes with every change of the files, and is stored only if no later change can go unnoticed."""

import os
import time
from pathlib import Path

import pytest

from gconv_gan.data.reading.fingerprint import content_hash


def files(root: Path) -> list[tuple[str, Path]]:
    return [(path.name, path) for path in sorted(root.iterdir())]


@pytest.fixture
def two(tmp_path: Path) -> Path:
    root = tmp_path / "two"
    root.mkdir()
    (root / "a").write_bytes(b"first")
    (root / "b").write_bytes(b"second")
    return root


@pytest.mark.usefixtures("patient_clock")
def test_a_stored_hash_is_not_computed_again(two: Path, tmp_path: Path) -> None:
    memory = tmp_path / "memory"
    true = content_hash(files(two), memory=memory)
    (remembered,) = memory.iterdir()
    assert remembered.read_text() == true
    remembered.write_text("0" * 64)  # a wrong hash, which shows that the stored one is returned
    assert content_hash(files(two), memory=memory) == "0" * 64
    remembered.write_text(true[:30])  # an incomplete file is ignored
    assert content_hash(files(two), memory=memory) == true


@pytest.mark.usefixtures("patient_clock")
def test_a_change_with_the_old_size_and_the_old_time_is_noticed(two: Path, tmp_path: Path) -> None:
    before = content_hash(files(two), memory=tmp_path / "memory")
    stat = (two / "b").stat()
    time.sleep(0.02)  # the file system's clock ticks every few milliseconds
    (two / "b").write_bytes(b"SECOND")
    os.utime(two / "b", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (two / "b").stat().st_mtime_ns == stat.st_mtime_ns
    assert content_hash(files(two), memory=tmp_path / "memory") != before


def test_hashes_of_files_changed_within_a_clock_tick_are_not_stored(two: Path, tmp_path: Path) -> None:
    content_hash(files(two), memory=tmp_path / "memory")
    assert not (tmp_path / "memory").exists()


def test_the_hash_depends_on_names_and_not_on_the_folder(two: Path, tmp_path: Path) -> None:
    memory = tmp_path / "memory"
    before = content_hash(files(two), memory=memory)
    assert content_hash([("a", two / "b"), ("b", two / "a")], memory=memory) != before
    two.rename(tmp_path / "elsewhere")
    assert content_hash(files(tmp_path / "elsewhere"), memory=memory) == before
