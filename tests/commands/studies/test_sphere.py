"""A sweep from its config to its table and picture: initial values, nothing trained twice, refusals."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gconv_gan.commands.studies import sphere as recipe
from gconv_gan.config.errors import UserError
from gconv_gan.config.load import load_config, validated
from gconv_gan.config.sections.classifiers import ClassifierRunConfig
from gconv_gan.config.sections.regimes import SphereCommand
from gconv_gan.experiments.regimes import SphereSweep

CONFIGS = sorted((Path(__file__).parents[3] / "configs" / "methods").glob("sphere_*.toml"))
DIGITS = """
[data]
kind = "digits"
split = "train"
[test_data]
kind = "digits"
split = "test"
[split]
train = 0.1
[network]
kind = "named"
name = "convnet_si"
options = { widths = [4, 8] }
[optimizer]
kind = "sgd"
momentum = 0.0
weight_decay = 0.0
[trainer]
total_images = 560
batch_size = 20
log_every = 140
"""
SPHERE = '[[methods]]\nkind = "sphere"\n'


def arguments(folder: Path, text: str = DIGITS + SPHERE, **changes: Any) -> SphereCommand:
    (folder / "tiny.toml").write_text(text)
    values = {
        "config": str(folder / "tiny.toml"),
        "effective_learning_rates": [1e-2, 10.0],
        "seeds": [4, 5],
        "runs_dir": str(folder / "runs"),
        "results": str(folder / "results"),
        "cache_dir": str(folder / "cache"),
    }
    return validated(SphereCommand, {**values, **changes}, "test")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sphere")


@pytest.fixture(scope="module")
def result(folder: Path) -> SphereSweep:
    return recipe.sweep(arguments(folder))


def test_every_run_has_its_trajectory_and_regime(result: SphereSweep, folder: Path) -> None:
    assert [(run.seed, run.effective_learning_rate) for run in result.runs] == [(4, 1e-2), (4, 10.0), (5, 1e-2), (5, 10.0)]
    for run in result.runs:
        assert run.images == (140, 280, 420, 560)
        assert len(run.losses) == len(run.gradients) == 4
        assert 0 <= run.accuracy <= 1
    assert [run.verdict.regime for run in result.at(10.0)] == ["divergence", "divergence"]
    slow, fast = result.of(4)
    assert slow.losses[-1] < 0.8 * fast.losses[-1]
    for seed in (4, 5):
        for rate in (1e-2, 10.0):
            [path] = (folder / "runs" / "tiny").glob(f"elr{rate:g}-s{seed}-*")
            [method] = [method for method in json.loads((path / "config.json").read_text())["methods"] if method["kind"] == "sphere"]
            assert method["effective_learning_rate"] == rate


def test_steps_are_timed_with_each_method_and_without(result: SphereSweep) -> None:
    assert list(result.step_seconds) == ["SGD", "sphere", "effective_learning_rates"]
    assert all(taken > 0 for taken in result.step_seconds.values())


def test_initial_values_are_those_before_training(result: SphereSweep) -> None:
    assert result.initial[4].loss == pytest.approx(result.initial[5].loss, rel=0.6)
    assert result.initial[4] != result.initial[5]
    assert result.initial[4].loss > 2.5  # above ln 10, since the head has norm 10


def test_finished_runs_are_not_trained_again(result: SphereSweep, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "fit", None)
    again = recipe.sweep(arguments(folder))
    assert again.runs == result.runs
    assert again.initial == result.initial


def test_the_command_writes_table_and_picture_and_can_draw_again(
    result: SphereSweep, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = ["--runs-dir", str(folder / "runs"), "--results", str(folder / "results"), "--cache-dir", str(folder / "cache")]
    command = [str(folder / "tiny.toml"), *places, "--effective-learning-rates", "1e-2", "10", "--seeds", "4", "5"]
    recipe.main(command)
    said = capsys.readouterr().out
    assert "| 10 |" in said
    assert "divergence 2/2" in said
    stored, picture = folder / "results" / "tiny.json", folder / "results" / "tiny.png"
    assert load_config(SphereSweep, stored).runs == result.runs
    with Image.open(picture) as image:
        assert image.size == (1880, 1520)
    before = picture.read_bytes()
    picture.unlink()
    recipe.main([*command, "--table"])
    assert picture.read_bytes() == before
    assert "divergence 2/2" in capsys.readouterr().out


def test_what_is_no_sweep_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'tiny.toml needs one \[\[methods\]\] with kind = "sphere"'):
        recipe.sweep(arguments(tmp_path, DIGITS))
    with pytest.raises(UserError, match=r"2 epochs of trainer.log_every = 140 images tell no regime"):
        recipe.sweep(arguments(tmp_path, images=280))
    with pytest.raises(UserError, match=r"there is no result .*tiny\.json: run eval/sphere\.py"):
        recipe.main([str(tmp_path / "tiny.toml"), "--table", "--results", str(tmp_path)])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_configs_of_sweeps_are_valid_and_say_how_they_are_run(path: Path) -> None:
    config = load_config(ClassifierRunConfig, path)
    assert [method.kind for method in config.methods] == ["sphere", "effective_learning_rates"]
    header = path.read_text().split("\nstandardise")[0]
    assert f"python eval/sphere.py configs/methods/{path.name}" in header
    assert "Hardware:" in header
