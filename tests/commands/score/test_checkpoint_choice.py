"""--checkpoint: newest, by images, best by the score curve or by the score during training; and refusals."""

import hashlib
import json
from pathlib import Path

import pytest

from gconv_gan.commands import export, gallery
from gconv_gan.commands.score import class_agreement
from gconv_gan.commands.score.checkpoint_choice import choose_checkpoint
from gconv_gan.commands.score.scores import main as score
from gconv_gan.commands.studies import lipschitz
from gconv_gan.config.errors import UserError
from gconv_gan.training.best import FILE, mark_best
from gconv_gan.training.checkpoint import HASHES


def scored_in_training(run: Path, images: int) -> None:
    """Record in the newest checkpoint that the score during training was best at ``images`` images."""
    path = run / "checkpoint-480"
    state = json.loads((path / "state.json").read_text())
    state["progress"] |= {"best_images": images, "best_name": "fid2k/fid", "best_score": 3.0}
    (path / "state.json").write_text(json.dumps(state))
    lines = [line for line in (path / HASHES).read_text().splitlines() if not line.endswith("  state.json")]
    lines.append(f"{hashlib.sha256((path / 'state.json').read_bytes()).hexdigest()}  state.json")
    (path / HASHES).write_text("\n".join(lines) + "\n")


def test_the_newest_checkpoint_and_one_by_its_images(run: Path) -> None:
    newest, chosen = choose_checkpoint(run, None), choose_checkpoint(run, 160)
    assert (newest.path.name, newest.rule) == ("checkpoint-480", "last")
    assert (chosen.path.name, chosen.rule) == ("checkpoint-160", "chosen")


def test_the_best_is_by_the_curve_and_else_by_the_score_during_training(run: Path) -> None:
    scored_in_training(run, 160)
    best = choose_checkpoint(run, "best")
    assert (best.path.name, best.rule) == ("checkpoint-160", "best by fid2k/fid during training")
    mark_best(run, "fid50k/fid", images=320, value=2.0, out_of=3)
    mark_best(run, "fid50k/is_mean", images=320, value=9.0, out_of=3)
    best = choose_checkpoint(run, "best")
    assert (best.path.name, best.rule) == ("checkpoint-320", "best by fid50k/fid, fid50k/is_mean")


def test_no_best_checkpoint_several_and_a_damaged_file_are_refused(run: Path) -> None:
    with pytest.raises(UserError, match=r"tiny keeps no best checkpoint: run gconv-gan curve on it, or train with evaluation\.every"):
        choose_checkpoint(run, "best")
    mark_best(run, "fid50k/fid", images=320, value=2.0, out_of=3)
    mark_best(run, "fid50k/is_mean", images=160, value=9.0, out_of=3)
    with pytest.raises(UserError, match=r"has several best checkpoints \(320 by fid50k/fid, 160 by fid50k/is_mean\): name one"):
        choose_checkpoint(run, "best")
    for damaged in ("{", '{"fid50k/fid": {}}'):
        (run / FILE).write_text(damaged)
        with pytest.raises(UserError, match=r"best\.json cannot be read"):
            choose_checkpoint(run, "best")


def test_score_commands_take_the_best_checkpoint(run: Path, judge: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mark_best(run, "fd1k/fd", images=160, value=2.0, out_of=3)
    best = ["--checkpoint", "best"]
    lipschitz.main([str(run), *best])
    class_agreement.main([str(run), "--classifier", str(judge), "--num-fake", "200", *best])
    shown = capsys.readouterr().out
    assert shown.count("checkpoint-160") == 2
    export.main([str(run), "--out", str(tmp_path / "exported"), "--no-onnx", *best])
    assert json.loads((tmp_path / "exported" / "config.json").read_text())["images_seen"] == 160
    out = tmp_path / "score.json"
    small = ["--extractor", f"checkpoint:{judge}", "--metrics", "fid", "--num-fake", "40", "--num-real", "40"]
    score([str(run), *small, "--cache-dir", str(tmp_path / "cache"), "--json", str(out), *best])
    card = json.loads(out.read_text())["card"]
    assert (card["fakes"]["images_seen"], card["run"]["checkpoint_rule"]) == (160, "best by fd1k/fd")


def test_galleries_take_the_best_checkpoint(run: Path, tmp_path: Path) -> None:
    mark_best(run, "fd1k/fd", images=160, value=2.0, out_of=3)
    gallery.main([str(run), "--out", str(tmp_path / "one"), "--checkpoint", "best"])
    gallery.main([str(run), str(run), "--out", str(tmp_path / "two"), "--checkpoint", "best"])
    for folder in ("one", "two"):
        assert json.loads((tmp_path / folder / "manifest.json").read_text())["run"]["images_seen"] == 160
