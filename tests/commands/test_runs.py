"""The list of runs: their state by lock and counters, and the differences of their configs."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from gconv_gan.commands import runs
from gconv_gan.commands.score import compare_scores
from gconv_gan.config.errors import UserError
from gconv_gan.metrics.tables import METRICS
from gconv_gan.runtime.run_folder import RunFolder
from gconv_gan.training.best import mark_best


@pytest.fixture
def folder(tiny_run: Path, tmp_path: Path) -> Path:
    """Runs in every state."""
    for name in ("done", "halted", "crashed", "below/other"):
        shutil.copytree(tiny_run, tmp_path / name, ignore=shutil.ignore_patterns("scores"))
    for name in ("halted", "crashed"):
        shutil.rmtree(tmp_path / name / "checkpoint-480")
    lines = (tmp_path / "halted" / "metrics.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "halted" / "metrics.jsonl").write_text("".join(line for line in lines if json.loads(line)["images"] <= 320))
    config = json.loads((tmp_path / "below" / "other" / "config.json").read_text())
    config["trainer"]["n_dis"], config["generator"]["width"] = 5, 16
    (tmp_path / "below" / "other" / "config.json").write_text(json.dumps(config))
    return tmp_path


RESULTS, PLAIN = Path(__file__).parents[2] / "eval" / "results", "cifar10_small_plain-s0.json"


def listed(folder: Path, *options: str) -> Any:
    runs.main([str(folder), "--json", str(folder / "out.json"), *options])
    return json.loads((folder / "out.json").read_text())


def test_the_state_follows_from_lock_and_counters(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mark_best(folder / "done", "fd2k_lite0/fd", images=320, value=12.5, out_of=3)
    shutil.copytree(RESULTS, folder / "crashed" / "scores", ignore=lambda _, names: [name for name in names if name != PLAIN])
    with RunFolder(folder / "halted").alone():
        states = {Path(run["path"]).name: run for run in listed(folder)}
    assert {name: run["state"] for name, run in states.items()} == {
        "done": "finished", "halted": "running", "crashed": "failed", "other": "finished"
    }  # fmt: skip
    assert states["crashed"]["images_seen"] == 480
    assert (states["done"]["best_name"], states["done"]["best_score"]) == ("fd2k_lite0/fd", 12.5)
    assert states["crashed"]["best_name"] == "fd5k_lite0/fd"
    assert states["crashed"]["best_score"] == json.loads((RESULTS / PLAIN).read_text())["scores"]["fd"]
    assert states["other"]["best_name"] is None
    printed = capsys.readouterr().out
    assert "below/other" in printed
    assert "480 of 480 (100 %)" in printed
    assert "fd2k_lite0/fd 12.5" in printed
    assert {Path(run["path"]).name: run["state"] for run in listed(folder)}["halted"] == "stopped"
    assert listed(folder / "done")[0]["state"] == "finished"


def test_listing_writes_nothing(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (folder / "done" / ".lock").unlink(missing_ok=True)
    before = sorted(path for path in folder.rglob("*"))
    runs.main([str(folder)])
    assert sorted(path for path in folder.rglob("*")) == before


def test_configs_are_compared_by_key(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = listed(folder, "--diff", "done", "below/other", str(folder / "halted"))
    assert found == {"trainer.n_dis": [2, 5, 2], "generator.width": [8, 16, 8]}
    assert "trainer.n_dis" in capsys.readouterr().out
    runs.main([str(folder), "--diff", "done", "halted"])
    assert "the configs are equal" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--diff", "done"], "--diff compares at least two runs"),
        (["--diff", "done", "dune"], "--diff dune: neither"),
    ],
)
def test_wrong_names_are_one_sentence(folder: Path, options: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        runs.main([str(folder), *options])


def test_an_empty_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no runs"):
        runs.main([str(tmp_path / "empty")])
    with pytest.raises(UserError, match="does not exist"):
        runs.main([str(tmp_path / "absent")])


@pytest.mark.parametrize(("seconds", "shown"), [(5.0, "5 s"), (90.0, "2 min"), (7200.0, "2 h"), (2e5, "2 d")])
def test_an_age_has_one_unit(seconds: float, shown: str) -> None:
    assert runs.age(seconds) == shown


def test_the_scores_of_three_runs_stand_in_one_table(capsys: pytest.CaptureFixture[str]) -> None:
    results = Path(__file__).parents[2] / "eval" / "results"
    files = [str(results / f"cifar10_small_{name}.json") for name in ("plain-s0", "plain-s1", "dictionary-s0")]
    compare_scores.main(files)
    table = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in table if any(file in line for file in files)][:3] == files
    assert sum("%" in line for line in table[:5]) == 2  # the changes against the first


def test_a_run_that_was_only_scored_after_training_has_the_best_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "scores").mkdir()
    for name, fd, precision in (("a", 3.0, 0.9), ("b", 2.0, 0.1)):
        score = {"scores": {"precision": precision, "fd": fd}, "card": {"formula": {"protocol": "fd2k_lite0"}, "extractor": {"name": "x"}}}
        (tmp_path / "scores" / f"{name}.json").write_text(json.dumps(score))
    (tmp_path / "scores" / "classifier.json").write_text('{"accuracy": 0.9}')
    assert runs.best(tmp_path, None) == runs.BestScore("fd2k_lite0/fd", 2.0, "lower")
    mark_best(tmp_path, "fd5k_lite0/fd", images=320, value=12.5, out_of=3)
    assert runs.best(tmp_path, None) == runs.BestScore("fd5k_lite0/fd", 12.5, "lower")
    (tmp_path / "best.json").unlink()
    (tmp_path / "scores" / "b.json").write_text("{")
    with pytest.raises(UserError, match=r"b\.json is damaged"):
        runs.best(tmp_path, None)


def test_which_score_is_best_is_said_by_the_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("a", 3.0), ("b", 2.0)):
        card = {"formula": {"protocol": "spread10k"}, "extractor": {"name": "x"}}
        (tmp_path / f"{name}.json").write_text(json.dumps({"scores": {"spread": value}, "card": card}))
    assert runs.best_of_files(tmp_path) == runs.BestScore("spread10k/spread", 3.0, None)
    monkeypatch.setattr(METRICS["fid"], "lower_is_better", ("spread",))
    assert runs.best_of_files(tmp_path) == runs.BestScore("spread10k/spread", 2.0, "lower")
