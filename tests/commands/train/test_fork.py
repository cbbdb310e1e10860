"""A run that goes on from a checkpoint of another one, with other settings."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from gconv_gan.commands.train import gan
from gconv_gan.config.errors import UserError
from gconv_gan.runtime.tracking import read_metrics
from tests.training.tiny import tiny, toml

CONSTANT = {"schedule": {"kind": "constant"}}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    gan.fit(tiny(folder, **CONSTANT, trainer={"total_images": 128, "checkpoint_every": 64}))
    return folder / "tiny"


def test_with_equal_settings_it_is_the_longer_run(source: Path, tmp_path: Path) -> None:
    whole = {**CONSTANT, "trainer": {"total_images": 192, "checkpoint_every": 64}}
    gan.fit(tiny(tmp_path, name="whole", **whole))
    gan.fit(tiny(tmp_path, name="fork", fork=f"{source}@64", **whole))
    for name in ("generator", "discriminator", "ema", "generator_optimizer", "discriminator_optimizer"):
        one, other = (load_file(tmp_path / run / "checkpoint-192" / f"{name}.safetensors") for run in ("whole", "fork"))
        assert all(other[key].equal(tensor) for key, tensor in one.items()), name
    assert min(line["images"] for line in read_metrics(tmp_path / "fork" / "metrics.jsonl")) > 64


def test_changed_settings_act_and_the_origin_is_recorded(source: Path, tmp_path: Path) -> None:
    slow = {"kind": "adam", "learning_rate": 1e-12, "betas": [0.5, 0.9]}
    long = {"total_images": 160, "checkpoint_every": 160}
    gan.fit(tiny(tmp_path, fork=str(source), **CONSTANT, trainer=long, generator_optimizer=slow))
    before, after = source / "checkpoint-128", tmp_path / "tiny" / "checkpoint-160"
    old, new = (load_file(folder / "generator.safetensors") for folder in (before, after))
    assert all((new[name] - old[name]).abs().max() < 1e-8 for name in old if name.endswith("weight"))
    state = json.loads((after / "state.json").read_text())
    assert state["fork"] == {"run": str(source), "images": 128, "sha256": state["fork"]["sha256"]}
    assert state["progress"]["images_seen"] == 160
    assert state["optimizer_groups"]["generator_optimizer"][0]["betas"] == [0.5, 0.9]


def test_it_resumes_without_the_source(source: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    moved.symlink_to(source)
    short = {"total_images": 160, "checkpoint_every": 32}
    gan.fit(tiny(tmp_path, fork=str(moved), **CONSTANT, trainer=short))
    moved.unlink()
    progress = gan.fit(tiny(tmp_path, fork=str(moved), **CONSTANT, trainer={**short, "total_images": 192}))
    assert progress.images_seen == 192
    states = [json.loads((tmp_path / "tiny" / f"checkpoint-{images}" / "state.json").read_text()) for images in (160, 192)]
    assert states[0]["fork"] == states[1]["fork"]


def test_the_dry_run_says_where_it_goes_on(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gan.main([str(toml(tmp_path, fork=str(source), **CONSTANT, trainer={"total_images": 192})), "--dry-run"])
    assert f"start: goes on from {source / 'checkpoint-128'}, with this config" in capsys.readouterr().out
    assert not (tmp_path / "tiny").exists()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"fork": "{}@65"}, "has no checkpoint at 65 images; it has 64, 128"),
        ({"fork": "{}x"}, "does not exist; did you mean"),
        ({"trainer": {"total_images": 128}}, "has seen 128 images: give a larger --trainer.total-images"),
        ({"generator": {"width": 12}}, "does not fit the network"),
        ({"generator_optimizer": {"kind": "sgd", "learning_rate": 0.1}}, 'generator_optimizer.kind = "adam", this run has "sgd"'),
        ({"start_from": "{}"}, "give one of them"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, object], sentence: str, source: Path, tmp_path: Path) -> None:
    filled = {key: value.format(source) if isinstance(value, str) else value for key, value in changes.items()}
    with pytest.raises(UserError, match=sentence):
        gan.fit(tiny(tmp_path, **{"fork": str(source), "trainer": {"total_images": 192}, **CONSTANT, **filled}))
    assert not (tmp_path / "tiny").exists()
