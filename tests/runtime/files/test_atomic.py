"""Atomic writes: a reader sees the old or the new content, and a folder is complete or absent."""

import contextlib
from pathlib import Path

import pytest

from gconv_gan.config.errors import FullDiskError
from gconv_gan.runtime.files.atomic import new_folder, write_text


def test_text_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_text(path, "old")
    write_text(path, "nü")
    assert path.read_text(encoding="utf-8") == "nü"
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_a_failed_write_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_text(path, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(FullDiskError, match=r"the disk that holds .*a\.json is full"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint-1"
    with new_folder(path) as temporary:
        (temporary / "a").write_text("a")
        assert not path.exists()
    assert (path / "a").read_text() == "a"


def test_a_folder_that_fails_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint-1"
    with contextlib.suppress(KeyError), new_folder(path) as temporary:
        (temporary / "a").write_text("a")
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_partial_files_of_a_killed_process_are_replaced(tmp_path: Path) -> None:
    (tmp_path / ".checkpoint-1.partial").mkdir()
    (tmp_path / ".checkpoint-1.partial" / "torn").write_text("")
    with new_folder(tmp_path / "checkpoint-1") as temporary:
        (temporary / "a").write_text("a")
    assert [file.name for file in (tmp_path / "checkpoint-1").iterdir()] == ["a"]


def test_two_writers_of_one_folder_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "statistics"

    def slow_writer() -> None:
        with new_folder(path) as slow:
            (slow / "a").write_text("slow")
            with new_folder(path) as fast:
                (fast / "a").write_text("fast")
            assert (slow / "a").read_text() == "slow"

    with pytest.raises(FileExistsError, match="another process wrote it meanwhile"):
        slow_writer()
    assert [file.name for file in tmp_path.iterdir()] == ["statistics"]
    assert (path / "a").read_text() == "fast"


def test_partial_files_of_other_folders_are_kept(tmp_path: Path) -> None:
    (tmp_path / ".checkpoint-10.0123.partial").mkdir()
    (tmp_path / ".checkpoint-1.0123.partial").mkdir()
    with new_folder(tmp_path / "checkpoint-1"):
        pass
    assert sorted(file.name for file in tmp_path.iterdir()) == [".checkpoint-10.0123.partial", "checkpoint-1"]
