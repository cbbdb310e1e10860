"""Trackers by name, from the command line and in what they receive."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gconv_gan.commands.train import classifier, gan
from gconv_gan.config.errors import UserError
from gconv_gan.runtime.tracking import TRACKERS, flat, grouped
from tests.processes import run_python
from tests.training.tiny import tiny, toml
from tests.training.tiny_classifier import tiny_classifier

ROOT = Path(__file__).parents[2]


def events_of(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder / "events"), size_guidance={"images": 0, "scalars": 0})
    events.Reload()
    return events


def test_tensorboard_has_groups_pictures_learning_rates_and_the_config(tmp_path: Path) -> None:
    gan.fit(tiny(tmp_path, trainer={"total_images": 96, "sample_every": 32}))
    assert [path.suffix for path in (tmp_path / "tiny" / "events").iterdir()] != []
    assert all(path.is_file() for path in (tmp_path / "tiny" / "events").iterdir())  # no second run in a folder of its own
    events = events_of(tmp_path / "tiny")
    tags = events.Tags()
    expected = {"losses/loss_d", "losses/loss_g", "logits/d_real", "accuracy/accuracy_real", "accuracy/sign_real", "gradients/grad_norm_g"}
    expected |= {"gates/gate_entropy", "gates/gate_variance", "speed/seconds_per_kimg", "learning rates/learning_rate_g"}
    assert expected <= set(tags["scalars"])
    assert all("/" in tag for tag in tags["scalars"])
    assert tags["images"] == ["samples"]
    assert [event.step for event in events.Images("samples")] == [0, 32, 64, 96]
    assert events.Images("samples")[0].width >= 10 * 8
    rates = [event.value for event in events.Scalars("learning rates/learning_rate_g")]
    assert rates == pytest.approx([2e-4 * (1 - images / 96) for images in (0, 32, 64)])  # of the line's last iteration
    content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"generator.conv.kind" in content
    assert b"trainer.batch_size" in content


def test_a_classifier_logs_its_learning_rate(tmp_path: Path) -> None:
    classifier.fit(tiny_classifier(tmp_path))
    name = next(path.name for path in tmp_path.iterdir() if (path / "metrics.jsonl").is_file())
    assert "learning rates/learning_rate" in events_of(tmp_path / name).Tags()["scalars"]
    assert "losses/loss" in events_of(tmp_path / name).Tags()["scalars"]
    assert "next: gconv-gan test" not in (tmp_path / name / "log.txt").read_text()


def test_no_tracker_leaves_the_metrics(tmp_path: Path) -> None:
    gan.fit(tiny(tmp_path, trackers=(), trainer={"total_images": 32}))
    assert not (tmp_path / "tiny" / "events").exists()
    assert (tmp_path / "tiny" / "metrics.jsonl").read_text()


def trained(config: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([environment.pop("PYTHONPATH", ""), str(ROOT)]).strip(os.pathsep)
    return run_python(
        ["-m", "gconv_gan", "train", str(config), *options],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", **environment},
    )


@pytest.mark.parametrize("name", [kind for kind in TRACKERS if kind not in ("jsonl", "tensorboard")])
def test_a_package_that_is_missing_is_one_sentence(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gconv_gan.runtime.tracking.get_available_trackers", lambda: ["tensorboard"])
    with pytest.raises(UserError, match=f'^trackers: "{name}" needs a package that is not installed: pip install {name}, or leave it out'):
        gan.fit(tiny(tmp_path, trackers=("tensorboard", name)))
    assert not (tmp_path / "tiny").exists()


def test_an_unknown_tracker_is_refused(tmp_path: Path) -> None:
    result = trained(toml(tmp_path), "--trackers", "wandbb")
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert "wandb" in result.stderr


STAND_IN = """
import json, os

class Run:
    def log(self, values, step=None, **_):
        say("log", step=step, names=sorted(values), pictures=[list(v[0].data.shape) for v in values.values() if isinstance(v, list)])
    def finish(self):
        say("finish")

class Image:
    def __init__(self, data):
        self.data = data

class config:
    @staticmethod
    def update(values, allow_val_change=False):
        say("config", values=values)

def init(project, **keywords):
    say("init", project=project, mode=os.environ["WANDB_MODE"], **keywords)
    return Run()

def say(call, **facts):
    with open(os.environ["STAND_IN_LOG"], "a") as file:
        file.write(json.dumps({"call": call, **facts}) + "\\n")
"""


def test_weights_and_biases_gets_numbers_config_and_pictures_offline(tmp_path: Path) -> None:
    """With a stand-in of its package, which Accelerate finds as the real one: the run must not need a network."""
    package = tmp_path / "packages"
    (package / "wandb").mkdir(parents=True)
    (package / "wandb" / "__init__.py").write_text(STAND_IN)
    (package / "wandb-0.99.dist-info").mkdir()
    (package / "wandb-0.99.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: wandb\nVersion: 0.99\n")
    log = tmp_path / "calls.jsonl"
    options = ["--trackers", "wandb", "--trainer.total-images", "64"]
    result = trained(toml(tmp_path), *options, PYTHONPATH=str(package), WANDB_MODE="offline", STAND_IN_LOG=str(log))
    assert result.returncode == 0, result.stderr
    calls: list[dict[str, Any]] = [json.loads(line) for line in log.read_text().splitlines()]
    assert calls[0] == {"call": "init", "project": "gconv_gan", "mode": "offline", "name": "tiny"}
    assert calls[1]["values"]["trainer.batch_size"] == 16
    assert calls[-1]["call"] == "finish"
    logged = [call for call in calls if call["call"] == "log"]
    assert any("loss_d" in call["names"] and call["step"] == 64 for call in logged)
    assert [call["step"] for call in logged] == sorted(call["step"] for call in logged)
    assert any(call["pictures"] and call["pictures"][0][-1] == 3 for call in logged)
    assert not (tmp_path / "tiny" / "events").exists()
    again = trained(toml(tmp_path), "--trackers", "tensorboard", "--trainer.total-images", "64")  # they may change
    assert again.returncode == 0, again.stderr


def test_names_and_groups() -> None:
    assert grouped("loss_d") == "losses/loss_d"
    assert grouped("effective_learning_rate_max_g") == "learning rates/effective_learning_rate_max_g"
    assert grouped("fd2k_lite0/fd") == "fd2k_lite0/fd"
    assert grouped("lecam_real") == "regularisers/lecam_real"
    assert grouped("rank") == "methods/rank"
    assert dict(flat({"a": {"b": 1, "c": None}, "d": [1, 2], "e": "x"})) == {"a.b": 1, "a.c": "null", "d": "[1, 2]", "e": "x"}
