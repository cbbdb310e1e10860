"""compare_scores from its command line: files of one score or several, run folders, and refusals."""

import json
from pathlib import Path

import pytest

from gconv_gan.commands.score.compare_scores import main
from gconv_gan.config.errors import UserError
from gconv_gan.metrics.score_card import Score
from gconv_gan.training.best import mark_best
from tests.metrics.test_score_card import card


def write(path: Path, *numbers: float, **changes: object) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    objects = [json.loads(Score(scores={"fid": number}, card=card(**changes)).to_json()) for number in numbers]
    path.write_text(json.dumps(objects[0] if len(objects) == 1 else objects))
    return str(path)


def test_score_files_are_compared_or_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = write(tmp_path / "a.json", 10.0), write(tmp_path / "b.json", 9.0)
    main([a, b])
    assert "9 (-10.0%)" in capsys.readouterr().out
    unlike = write(tmp_path / "c.json", 5.0, formula__num_fake=50)
    with pytest.raises(UserError, match=r"c.json differs from .*a.json in formula.num_fake: 100 != 50 \(--mark"):
        main([a, b, unlike])
    main([a, b, unlike, "--mark"])
    out = capsys.readouterr().out
    assert "5 !" in out
    assert "9 (-10.0%)" in out


def test_run_folders_and_filters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for run, better in (("a", 0.0), ("b", 1.0)):
        for images in (10, 20):
            for protocol in ("p", "q (num_fake=7)"):
                name = f"{protocol[0]}-{images}.json"
                changes = {"fakes__images_seen": images, "formula__protocol": protocol}
                write(tmp_path / run / "scores" / name, 100.0 - images - better, **changes)
    runs = [str(tmp_path / "a"), str(tmp_path / "b")]
    main(runs)
    out = capsys.readouterr().out
    assert out.count("79 (-1.2%)") == 2  # p and q, at 20
    main([*runs, "--protocol", "q", "--checkpoint", "10"])
    out = capsys.readouterr().out
    assert ("89 (-1.1%)" in out, "79 (" in out, out.count("features of")) == (True, False, 1)
    with pytest.raises(UserError, match="has no such score; it has p at 10, p at 20, q .num_fake=7. at 10"):
        main([*runs, "--checkpoint", "30"])


def test_the_best_checkpoint_of_each_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for run, best in (("a", 10), ("b", 20)):
        for images in (10, 20):
            write(tmp_path / run / "scores" / f"{images}.json", 100.0 - images, fakes__images_seen=images)
        (tmp_path / run / "config.json").touch()
        mark_best(tmp_path / run, "p/fid", images=best, value=0.0, out_of=2)
    runs = [str(tmp_path / "a"), str(tmp_path / "b")]
    main([*runs, "--checkpoint", "best"])
    assert "80 (-11.1%)" in capsys.readouterr().out
    with pytest.raises(UserError, match="--checkpoint best is for run folders, but .* is not one"):
        main([str(tmp_path / "a" / "scores" / "10.json"), runs[1], "--checkpoint", "best"])


def test_a_file_of_several_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = [json.loads(Score(scores={"fid": 4.0}, card=card(formula__protocol=name)).to_json()) for name in "pq"]
    for name in ("a", "b"):
        (tmp_path / f"{name}.json").write_text(json.dumps(scores))
    main([str(tmp_path / "a.json"), str(tmp_path / "b.json")])
    assert capsys.readouterr().out.count("4 (+0.0%)") == 2


def test_a_source_without_scores_is_named(tmp_path: Path) -> None:
    a = write(tmp_path / "a.json", 1.0)
    (tmp_path / "text.json").write_text("no json")
    (tmp_path / "bare.json").write_text('{"fid": 3.0}')
    (tmp_path / "run").mkdir()
    for other, message in {
        "text.json": "is not a file of scores",
        "bare.json": "unknown key 'fid'",
        "run": "nor a run that was scored",
        "absent": "absent does not exist$",
        "b.json": r"b\.json does not exist; did you mean .*a\.json\?",
        "a.json": "at least two different",
    }.items():
        with pytest.raises(UserError, match=message):
            main([a, str(tmp_path / other)])
