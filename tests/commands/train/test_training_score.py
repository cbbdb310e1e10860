"""The score during training: logged under its protocol, stored with its card, resumed exactly, and used to choose the best checkpoint."""

import re
from pathlib import Path
from typing import Any

import pytest

from gconv_gan.commands.score.checkpoint_choice import choose_checkpoint
from gconv_gan.commands.train import gan as recipe
from gconv_gan.commands.train.training_score import CARDS
from gconv_gan.config.errors import UserError
from gconv_gan.metrics.score_card import Score
from gconv_gan.runtime.tracking import read_metrics
from gconv_gan.training.checkpoint import checkpoints
from tests.reference.digits_judge import save_judge
from tests.training.tiny import final_files, tiny

KEY = "fd1k_classifier (num_fake=64, num_real=256)/fd"


def evaluation(judge: Path, **changes: Any) -> dict[str, Any]:
    base = {"every": 160, "protocol": "fd1k_classifier", "extractor": f"checkpoint:{judge}", "num_fake": 64, "num_real": 256}
    return {"evaluation": {**base, **changes}}


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_judge(tmp_path_factory.mktemp("judge"))


@pytest.fixture(scope="module")
def scored(judge: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scored")
    recipe.fit(tiny(folder, **evaluation(judge), trainer={"keep_checkpoints": 1}))
    return folder


def curve(folder: Path) -> dict[int, float]:
    return {line["images"]: line[KEY] for line in read_metrics(folder / "tiny" / "metrics.jsonl") if KEY in line}


def test_it_is_logged_at_its_cadence_under_its_protocol(scored: Path) -> None:
    assert sorted(curve(scored)) == [160, 320, 480]


def test_the_line_names_the_protocol_once(scored: Path) -> None:
    said = [line for line in (scored / "tiny" / "log.txt").read_text().splitlines() if "fd " in line]
    assert len(said) == 3
    assert all(re.fullmatch(r" +0\.\d kimg  fd1k_classifier \(.*\): fd [\d.e+]+(  \w+ [\d.e+-]+)*", line) for line in said)


def test_every_number_has_its_card(scored: Path) -> None:
    for images, value in curve(scored).items():
        stored = Score.model_validate_json((scored / "tiny" / "scores" / CARDS / f"{images}.json").read_text())
        assert stored.scores["fd"] == value
        assert stored.card.fakes.images_seen == images
        assert (stored.card.formula.num_fake, stored.card.formula.num_real) == (64, 256)
        assert (stored.card.fakes.seed, stored.card.run.training_seed) == (0, 3)


def test_the_seed_of_the_score_is_not_that_of_training(judge: Path, scored: Path, tmp_path: Path) -> None:
    recipe.fit(tiny(tmp_path, **evaluation(judge, seed=5)))
    assert final_files(tmp_path)["ema.safetensors"] == final_files(scored)["ema.safetensors"]
    card, other = (
        Score.model_validate_json((path / "tiny" / "scores" / CARDS / "480.json").read_text()).card for path in (tmp_path, scored)
    )
    assert card.fakes.seed == 5
    assert card.fakes.images_sha256 != other.fakes.images_sha256
    assert card.reference.images_sha256 != other.reference.images_sha256


def test_the_best_checkpoint_is_not_deleted(scored: Path) -> None:
    best = min(curve(scored), key=curve(scored).__getitem__)
    assert {images for images, _ in checkpoints(scored / "tiny")} == {best, 480}


def test_other_metrics_than_the_protocol_s_can_be_asked_for_and_the_first_number_decides(judge: Path, tmp_path: Path) -> None:
    recipe.fit(tiny(tmp_path, **evaluation(judge, metrics=["prdc", "is"]), trainer={"keep_checkpoints": 1}))
    name = "fd1k_classifier (metrics=('prdc', 'is'), num_fake=64, num_real=256)/is_mean"
    found = {line["images"]: line[name] for line in read_metrics(tmp_path / "tiny" / "metrics.jsonl") if name in line}
    assert len(set(found.values())) == 3
    best = max(found, key=found.__getitem__)  # a higher Inception Score is better
    assert {images for images, _ in checkpoints(tmp_path / "tiny")} == {best, 480}
    assert choose_checkpoint(tmp_path / "tiny", "best").rule == f"best by {name} during training"
    with pytest.raises(UserError, match=r"evaluation\.metrics\.0 = 'iss' is not among .*did you mean 'is'"):
        tiny(tmp_path, **evaluation(judge, metrics=["iss"]))
    with pytest.raises(UserError, match=r"^protocol fd1k_classifier \(metrics=.*: metrics must name at least one, each once$"):
        recipe.fit(tiny(tmp_path / "twice", **evaluation(judge, metrics=["is", "is"])))


def test_newer_metrics_are_scored_in_training_and_lower_is_better_where_it_is(judge: Path, tmp_path: Path) -> None:
    recipe.fit(tiny(tmp_path, **evaluation(judge, metrics=["mind", "clipped"]), trainer={"keep_checkpoints": 1}))
    name = "fd1k_classifier (metrics=('mind', 'clipped'), num_fake=64, num_real=256)"
    lines = [line for line in read_metrics(tmp_path / "tiny" / "metrics.jsonl") if f"{name}/monge_distance" in line]
    assert [line["images"] for line in lines] == [160, 320, 480]
    assert all(0 <= line[f"{name}/clipped_coverage"] <= 1 for line in lines)
    best = min(lines, key=lambda line: line[f"{name}/monge_distance"])["images"]
    assert {images for images, _ in checkpoints(tmp_path / "tiny")} == {best, 480}


def test_scoring_does_not_touch_training(scored: Path, tmp_path: Path) -> None:
    recipe.fit(tiny(tmp_path))
    with_score, without = final_files(scored), final_files(tmp_path)
    for name in ("generator.safetensors", "discriminator.safetensors", "ema.safetensors", "generator_optimizer.safetensors"):
        assert with_score[name] == without[name]


def test_standing_statistics_do_not_change_the_average(judge: Path, scored: Path, tmp_path: Path) -> None:
    recipe.fit(tiny(tmp_path, **evaluation(judge, batch_norm="standing")))
    assert final_files(tmp_path)["ema.safetensors"] == final_files(scored)["ema.safetensors"]
    assert curve(tmp_path) != curve(scored)


def test_a_wrong_evaluation_section_is_refused_before_training(judge: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="there is no protocol 'fid_50k'; known are fid50k_train"):
        recipe.fit(tiny(tmp_path, **evaluation(judge, protocol="fid_50k")))
    with pytest.raises(UserError, match=r"nowhere is not a classifier: .*model\.json is missing"):
        recipe.fit(tiny(tmp_path, **evaluation(judge, extractor="checkpoint:nowhere")))
    with pytest.raises(UserError, match="1000 images are asked for, but there are only 359: set evaluation.num_real to at most that"):
        recipe.fit(tiny(tmp_path, **evaluation(judge, num_real=1000)))
    monkeypatch.setenv("GCONV_GAN_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(UserError, match=r"the Inception weights are missing: .*, or pass it with evaluation\.weights; ") as refusal:
        recipe.fit(tiny(tmp_path, **evaluation(judge, protocol="fid2k", extractor="inception")))
    assert "--weights" not in str(refusal.value)
