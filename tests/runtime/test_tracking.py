"""Numbers over time survive a resume without gaps or doubles."""

from pathlib import Path

from gconv_gan.runtime.tracking import JsonLinesTracker, read_metrics, truncate_metrics


def test_lines_beyond_the_checkpoint_and_torn_ones_are_dropped(tmp_path: Path) -> None:
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
