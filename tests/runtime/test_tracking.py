"""The metrics file after a resume has no gaps and no duplicate lines."""

from pathlib import Path

import pytest

from gconv_gan.config.errors import FullDiskError, UserError
from gconv_gan.runtime.tracking import TRACKERS, JsonLinesTracker, build_trackers, read_metrics, truncate_metrics


def test_lines_beyond_the_checkpoint_and_incomplete_ones_are_deleted(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    tracker = JsonLinesTracker(path)
    for images in (10, 20, 30):
        tracker.log({"loss_d": images / 10}, step=images)
    with path.open("a") as file:
        file.write('{"images": 40, "lo')
    truncate_metrics(path, 20)
    assert read_metrics(path) == [{"images": 10, "loss_d": 1.0}, {"images": 20, "loss_d": 2.0}]


def test_an_absent_file_has_no_lines(tmp_path: Path) -> None:
    truncate_metrics(tmp_path / "metrics.jsonl", 5)
    assert read_metrics(tmp_path / "metrics.jsonl") == []


WHOLE = '{"images": 10, "loss_d": 1.0}'


@pytest.mark.parametrize("torn", ["{", '{"images": 2', '{"images": 20, "loss_d": 1', '{"images": 20, "a": "\u00c3', "20", "\0\0\0"])
def test_an_incomplete_last_line_is_skipped(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(f"{WHOLE}\n{torn}".encode("latin-1"))
    assert read_metrics(path) == [{"images": 10, "loss_d": 1.0}]
    truncate_metrics(path, 100)
    JsonLinesTracker(path).log({"loss_d": 2.0}, step=20)  # a resumed run goes on in a line of its own
    assert read_metrics(path) == [{"images": 10, "loss_d": 1.0}, {"images": 20, "loss_d": 2.0}]


def test_a_complete_last_line_needs_no_newline(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(WHOLE)
    assert len(read_metrics(path)) == 1
    truncate_metrics(path, 100)
    assert path.read_text() == WHOLE + "\n"


@pytest.mark.parametrize("line", ['{"images": 20, "lo', '{"loss_d": 1.0}', "[20]", "", '{"images": 20{"images": 30}'])
def test_a_damaged_line_among_others_is_named_and_nothing_is_lost(tmp_path: Path, line: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(f"{WHOLE}\n{line}\n{WHOLE}\n")
    for read in (read_metrics, lambda path: truncate_metrics(path, 5)):
        with pytest.raises(UserError, match=r"metrics\.jsonl: line 2 is damaged .*: delete that line"):
            read(path)
    assert path.read_text() == f"{WHOLE}\n{line}\n{WHOLE}\n"


def test_a_failed_truncation_leaves_every_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(f"{WHOLE}\n")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(FullDiskError, match="is full"):
        truncate_metrics(path, 5)
    assert path.read_text() == f"{WHOLE}\n"


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ("no_such_tracker", r"TRACKERS\['mine'\] asks Accelerate for 'no_such_tracker', which it does not know"),
        (3, r"TRACKERS\['mine'\] returns int"),
    ],
)
def test_a_row_that_makes_no_tracker_is_named(made: object, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TRACKERS.data, "mine", lambda: made)
    with pytest.raises(UserError, match=message):
        build_trackers(tmp_path, ["mine"])
