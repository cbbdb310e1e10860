"""score_curve from its command line: every checkpoint is scored once, the best is marked and kept."""

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from gconv_gan.commands.score.score_curve import main
from gconv_gan.commands.train import gan as recipe
from gconv_gan.commands.train.networks import TrainedRun
from gconv_gan.config.errors import UserError
from gconv_gan.metrics.score_card import Score
from gconv_gan.training import best
from gconv_gan.training.best import FILE, is_marked, mark_best, marked
from gconv_gan.training.checkpoint import checkpoints
from tests.training.tiny import tiny

FLAGS = ["--metrics", "fid", "is", "--num-fake", "100", "--num-real", "90"]
NAME = "fd1k_classifier (metrics=('fid', 'is'), num_fake=100, num_real=90)"


@pytest.fixture
def generators(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The checkpoints whose generators were called."""
    used: list[int] = []
    built = TrainedRun.generator

    def counted(self: TrainedRun, weights: str = "ema") -> object:
        generator = built(self, weights)  # type: ignore[arg-type]
        generator.register_forward_pre_hook(lambda *_: used.append(self.images_seen))
        return generator

    monkeypatch.setattr(TrainedRun, "generator", counted)
    return used


def curve(run: Path, judge: Path, tmp_path: Path, *flags: str) -> list[Score]:
    out = tmp_path / "curve.json"
    main([str(run), "--extractor", f"checkpoint:{judge}", *FLAGS, "--cache-dir", str(tmp_path / "cache"), "--json", str(out), *flags])
    return [Score.model_validate_json(json.dumps(one)) for one in json.loads(out.read_text())]


def test_every_checkpoint_is_scored_once(
    run: Path, judge: Path, tmp_path: Path, generators: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    first = curve(run, judge, tmp_path)
    assert [score.card.fakes.images_seen for score in first] == [160, 320, 480]
    assert set(generators) == {160, 320, 480}
    values = {score.card.fakes.images_seen: score.scores["fd"] for score in first}
    best = min(values, key=values.__getitem__)
    rules = {score.card.fakes.images_seen: score.card.run.checkpoint_rule for score in first}
    assert rules[best] == "best of 3 by fd"
    assert {rules[images] for images in values if images not in (best, 480)} == {"one of 3"}
    printed = capsys.readouterr().out
    assert f"best by fd: {values[best]:.6g} at {best} images, of 3 checkpoints" in printed
    assert f"last: {values[480]:.6g} at 480 images" in printed
    assert json.loads((run / FILE).read_text()) == {f"{NAME}/fd": {"images": best, "value": values[best], "out_of": 3}}
    generators.clear()
    assert curve(run, judge, tmp_path) == first  # the same cards, including seconds: read, not computed
    assert generators == []
    [stored] = (run / "scores").glob("*-160.json")
    stored.unlink()
    assert [score.scores for score in curve(run, judge, tmp_path)] == [score.scores for score in first]
    assert set(generators) == {160}


def test_scores_with_changed_settings_are_computed_again(run: Path, judge: Path, tmp_path: Path, generators: list[int]) -> None:
    curve(run, judge, tmp_path)
    [stored] = (run / "scores").glob("*-320.json")
    content = json.loads(stored.read_text())
    content["card"]["reference"]["fingerprint"] = "other data"
    stored.write_text(json.dumps(content))
    generators.clear()
    curve(run, judge, tmp_path)
    assert set(generators) == {320}


def test_the_best_checkpoint_by_another_score(run: Path, judge: Path, tmp_path: Path) -> None:
    found = curve(run, judge, tmp_path, "--by", "is_mean")
    best = max(found, key=lambda score: score.scores["is_mean"])
    assert best.card.run.checkpoint_rule == "best of 3 by is_mean"
    assert is_marked(run, best.card.fakes.images_seen or 0)
    with pytest.raises(UserError, match="--by fid is not among the scores computed: fd, is_mean, is_std"):
        curve(run, judge, tmp_path, "--by", "fid")


def test_the_marked_checkpoint_survives_when_training_goes_on(run: Path, tmp_path: Path) -> None:
    for images in (320, 480):
        shutil.rmtree(run / f"checkpoint-{images}")
    mark_best(run, "fid50k/fid", images=160, value=3.0, out_of=1)
    recipe.fit(tiny(tmp_path, trainer={"keep_checkpoints": 1}))  # resumes at 160 and saves at 320 and 480
    assert [images for images, _ in checkpoints(run)] == [480, 160]


def test_best_json_lists_and_protects_checkpoints(tmp_path: Path) -> None:
    assert not is_marked(tmp_path, 7)
    mark_best(tmp_path, "a/fid", images=7, value=1.0, out_of=2)
    mark_best(tmp_path, "b/fid", images=8, value=1.0, out_of=2)
    mark_best(tmp_path, "a/fid", images=9, value=0.5, out_of=3)
    assert [images for images in range(6, 11) if is_marked(tmp_path, images)] == [8, 9]
    (tmp_path / FILE).write_text("{")
    assert is_marked(tmp_path, 7)  # no checkpoint is deleted while the file cannot be read


def test_a_folder_without_run_or_checkpoint_is_refused(tmp_path: Path, tiny_run: Path, judge: Path) -> None:
    with pytest.raises(UserError, match="is not a run folder"):
        main([str(tmp_path)])
    shutil.copy(tiny_run / "config.json", tmp_path)
    with pytest.raises(UserError, match="has no whole checkpoint yet"):
        main([str(tmp_path), "--extractor", f"checkpoint:{judge}"])


def test_two_commands_that_mark_at_once_keep_both_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = best._read
    other = threading.Thread(target=mark_best, args=(tmp_path, "b/fid"), kwargs={"images": 8, "value": 1.0, "out_of": 2})

    def slow(folder: Path) -> Any:
        marks = read(folder)
        if not other.ident:
            other.start()
            other.join(0.5)  # the other command has time to write in between
        return marks

    monkeypatch.setattr(best, "_read", slow)
    mark_best(tmp_path, "a/fid", images=7, value=1.0, out_of=2)
    other.join()
    assert marked(tmp_path) == {"a/fid": 7, "b/fid": 8}
