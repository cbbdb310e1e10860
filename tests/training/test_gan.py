"""Whole GAN runs: exact resume, refusals, guards, content of the run folder."""

import hashlib
import json
import re
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch import nn

from gconv_gan.commands.train import gan as recipe
from gconv_gan.commands.train import gan_checks
from gconv_gan.commands.train.training_score import ScorePlan
from gconv_gan.config.errors import GuardError, UserError
from gconv_gan.config.load import merged
from gconv_gan.methods.method import Method, Player
from gconv_gan.runtime.memory import peak_memory, reset_peak_memory
from gconv_gan.runtime.tracking import read_metrics
from gconv_gan.training.checkpoint import checkpoints
from gconv_gan.training.samples import SampleGrids
from tests.training.interrupted import At, PowerCutError, fit_with, power_cut
from tests.training.tiny import final_files, tiny


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    recipe.fit(tiny(folder))
    return folder


def test_a_run_of_an_earlier_version_is_refused_in_one_sentence(uninterrupted: Path, tmp_path: Path) -> None:
    shutil.copytree(uninterrupted / "tiny", tmp_path / "tiny")
    for _, path in checkpoints(tmp_path / "tiny"):
        state = json.loads((path / "state.json").read_text())
        assert state.pop("format") == 2
        (path / "state.json").write_text(json.dumps(state))
        lines = (path / "SHA256SUMS").read_text().splitlines()
        new = hashlib.sha256((path / "state.json").read_bytes()).hexdigest()
        (path / "SHA256SUMS").write_text("".join(f"{new}  state.json\n" if "state.json" in line else f"{line}\n" for line in lines))
    with pytest.raises(UserError, match=r"checkpoint-\d+ was written in format 1 .* draws other random numbers .* under another --name"):
        recipe.fit(tiny(tmp_path))


# every part that draws numbers or keeps state of its own; checkpoints every 160 images, ADA adjusts every 48, R1 every 3rd step
EVERYTHING: dict[str, Any] = {
    "objective": {
        "loss": "least_squares",
        "penalty": {"kind": "dragan", "weight": 0.1, "every": 3},
        "consistency": {"real_weight": 1.0, "fake_weight": 1.0},
        "lecam": {"weight": 0.3, "start_images": 100},
        "top_k": {"final_fraction": 0.5, "decay": 0.9, "decay_images": 48},
    },
    "augment": {"kind": "ada", "initial_probability": 0.8, "ramp_images": 1000, "every": 3, "cutout": 1.0},
}
RELATIVISTIC: dict[str, Any] = {
    "objective": {"loss": "relativistic_pairing", "penalty": {"kind": "wgan_gp", "schedule": {"kind": "cosine", "end_images": 300}}},
    "augment": {"kind": "scheduled", "rise_images": 200},
    "generator_optimizer": {"kind": "sgd", "learning_rate": 0.01},
    "discriminator_optimizer": {"kind": "adamw", "learning_rate": 2e-4},
    "trainer": {"micro_batches": 2},
}


@pytest.mark.parametrize("changes", [EVERYTHING, RELATIVISTIC], ids=["everything", "relativistic"])
def test_a_killed_run_with_all_regularisers_ends_with_the_bits_of_an_uninterrupted_one(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = merged({"trainer": {"total_images": 320, "sample_every": 320}}, changes)
    recipe.fit(tiny(tmp_path / "uninterrupted", **changes))
    with pytest.raises(PowerCutError):
        fit_with(monkeypatch, At(208, power_cut), tmp_path / "broken", **changes)
    torch.manual_seed(7)
    recipe.fit(tiny(tmp_path / "broken", **changes))
    ours, theirs = final_files(tmp_path / "broken", 320), final_files(tmp_path / "uninterrupted", 320)
    assert ours == theirs
    lines = read_metrics(tmp_path / "uninterrupted" / "tiny" / "metrics.jsonl")
    assert all(torch.isfinite(torch.tensor(list(line.values()))).all() for line in lines)
    if "lecam" in changes["objective"]:
        assert {"augment.safetensors", "lecam.safetensors"} <= ours.keys()
        assert len({line["augment_p"] for line in lines}) > 3
        assert {"consistency", "lecam", "lecam_real", "sign_real"} <= lines[-1].keys()
        assert re.search(r"consistency \d+\.\d+  LeCam \d+\.\d+", (tmp_path / "uninterrupted" / "tiny" / "log.txt").read_text())
        assert {"penalty" in line for line in lines} == {True, False}  # lazy: not in every line
    else:
        assert lines[-1]["augment_p"] == pytest.approx(0.55)


def test_a_finished_run_may_be_lengthened_where_no_schedule_ends_with_it(uninterrupted: Path, tmp_path: Path) -> None:
    constant: dict[str, Any] = {"schedule": {"kind": "constant"}}
    recipe.fit(tiny(tmp_path / "at_once", trainer={"total_images": 320}, **constant))
    recipe.fit(tiny(tmp_path / "in_two", trainer={"total_images": 192}, **constant))
    recipe.fit(tiny(tmp_path / "in_two", trainer={"total_images": 320}, **constant))
    assert final_files(tmp_path / "in_two", 320) == final_files(tmp_path / "at_once", 320)
    with pytest.raises(UserError, match="other settings: trainer.total_images: 480 -> 960"):
        recipe.fit(tiny(uninterrupted, trainer={"total_images": 960}))


def test_a_finished_run_says_how_to_lengthen_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        capsys.readouterr()
        recipe.fit(tiny(tmp_path, trainer={"total_images": 64}, schedule={"kind": "constant"}))
    assert "nothing is left to train; to lengthen it, give a larger --trainer.total-images" in capsys.readouterr().out


def test_without_a_whole_checkpoint_the_run_stops_and_says_how_to_start_over(tmp_path: Path) -> None:
    short: dict[str, Any] = {"trainer": {"total_images": 64}}
    recipe.fit(tiny(tmp_path, **short))
    folder = tmp_path / "tiny"
    (folder / "checkpoint-64" / "ema.safetensors").unlink()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name in ("metrics.jsonl", "state.json")}
    with pytest.raises(UserError) as refusal:
        recipe.fit(tiny(tmp_path, **short))
    assert f"no checkpoint in {folder} is whole (checkpoint-64: ema.safetensors is missing): to start over" in str(refusal.value)
    assert all(path.read_bytes() == content for path, content in before.items())
    (folder / "checkpoint-64").rename(folder / "old-checkpoint-64")  # as the message recommends
    recipe.fit(tiny(tmp_path, **short))
    assert checkpoints(folder)[0][0] == 64


def flip_last_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a bit": lambda path: flip_last_bit(path / "ema.safetensors"),
    "cut": lambda path: (path / "generator.safetensors").write_bytes(b""),
    "file": lambda path: (path / "state.json").unlink(),
    "sums": lambda path: (path / "SHA256SUMS").unlink(),
    "empty sums": lambda path: (path / "SHA256SUMS").write_bytes(b""),
    "cut sums": lambda path: (path / "SHA256SUMS").write_text((path / "SHA256SUMS").read_text().splitlines()[0] + "\n"),
    "zeroed sums": lambda path: (path / "SHA256SUMS").write_bytes(bytes(len((path / "SHA256SUMS").read_bytes()))),
    "torn sums": lambda path: (path / "SHA256SUMS").write_bytes(b"\xff" + (path / "SHA256SUMS").read_bytes()[1:]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_kind_of_damage_is_detected(damage: str, uninterrupted: Path, tmp_path: Path) -> None:
    shutil.copytree(uninterrupted / "tiny", tmp_path / "tiny")
    for path in (tmp_path / "tiny").glob("checkpoint-*"):
        DAMAGES[damage](path)
    with pytest.raises(UserError, match=r"no checkpoint in .*tiny is whole \(checkpoint-480: "):
        recipe.fit(tiny(tmp_path))


def test_damaged_checkpoints_do_not_count_among_those_kept(uninterrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(uninterrupted / "tiny", folder)
    damaged = [folder / f"checkpoint-{images}" for images in (320, 480)]
    for path in damaged:
        (path / "ema.safetensors").write_bytes(b"")
    finer: dict[str, Any] = {"trainer": {"checkpoint_every": 32, "keep_checkpoints": 2}}
    with pytest.MonkeyPatch.context() as patch, pytest.raises(PowerCutError):
        fit_with(patch, At(288, power_cut), tmp_path, **finer)
    assert [images for images, _ in checkpoints(folder)] == [480, 320, 288, 256]  # the damaged, and the two newest that are whole
    capsys.readouterr()
    recipe.fit(tiny(tmp_path, **finer))
    said = capsys.readouterr().out
    for path in damaged:  # undamaged checkpoints have their names now
        assert f"{path} is damaged (ema.safetensors does not match its SHA-256); it is kept as {path}.damaged" in said
        assert (path.with_name(f"{path.name}.damaged") / "generator.safetensors").is_file()
    assert [images for images, _ in checkpoints(folder)] == [480, 448]
    assert not [path for path in folder.iterdir() if path.name.endswith((".partial", ".deleted"))]


def test_a_copied_or_renamed_run_goes_on_exactly(uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PowerCutError):
        fit_with(monkeypatch, At(336, power_cut), tmp_path / "here")
    (tmp_path / "there").mkdir()
    (tmp_path / "here" / "tiny").rename(tmp_path / "there" / "renamed")
    recipe.fit(tiny(tmp_path / "there", name="renamed"))
    (tmp_path / "there" / "renamed").rename(tmp_path / "there" / "tiny")
    assert final_files(tmp_path / "there") == final_files(uninterrupted)


@pytest.mark.usefixtures("fresh_accelerate_state")
def test_another_precision_than_before_is_refused(uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(uninterrupted / "tiny", tmp_path / "tiny")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    with pytest.raises(UserError, match="was trained with mixed precision no, now it is bf16: launch with --mixed_precision no"):
        recipe.fit(tiny(tmp_path))


def test_the_run_folder_has_the_documented_files(uninterrupted: Path) -> None:
    folder = uninterrupted / "tiny"
    assert [images for images, _ in checkpoints(folder)] == [480, 320, 160]
    for name in ("config.json", "command.txt", "versions.json", "log.txt", "samples/reals.png", "samples/0.png", "samples/480.png"):
        assert (folder / name).is_file(), name
    assert list((folder / "events").iterdir())
    last = read_metrics(folder / "metrics.jsonl")[-1]
    assert last["images"] == 480
    expected = {"loss_d", "loss_g", "accuracy_real", "accuracy_fake", "grad_norm_d", "grad_norm_g", "gate_entropy", "seconds_per_kimg"}
    expected |= {"gate_information", "gate_variance", "learning_rate_d", "learning_rate_g"}
    assert expected <= last.keys()
    progress = json.loads((folder / "checkpoint-480" / "state.json").read_text())["progress"]
    assert (progress["images_seen"], progress["d_steps"], progress["g_steps"]) == (480, 30, 15)


def test_another_hyper_parameter_is_refused_and_named(uninterrupted: Path) -> None:
    with pytest.raises(UserError, match=r"trainer\.n_dis: 2 -> 1\. ") as refusal:
        recipe.fit(tiny(uninterrupted, trainer={"n_dis": 1}))
    assert str(refusal.value).count("->") == 1
    with pytest.raises(UserError, match=r'discriminator\.norm\.kind: "spectral" -> "none"'):
        recipe.fit(tiny(uninterrupted, discriminator={"norm": {"kind": "none"}}))


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(
    uninterrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe.fit(tiny(tmp_path))
    damaged = tmp_path / "tiny" / "checkpoint-480" / "ema.safetensors"
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(bytes(content))
    capsys.readouterr()
    recipe.fit(tiny(tmp_path))
    said = capsys.readouterr().out
    assert "checkpoint-480: ema.safetensors does not match its SHA-256" in said
    assert "resuming from" in said
    assert "checkpoint-320" in said
    assert final_files(tmp_path) == final_files(uninterrupted)


def test_only_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    recipe.fit(tiny(tmp_path, trainer={"keep_checkpoints": 1}))
    assert [images for images, _ in checkpoints(tmp_path / "tiny")] == [480]


def test_a_non_finite_gradient_stops_before_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Poison(Method):
        weights: dict[str, torch.Tensor]
        steps = 0

        def after_backward(self, player: Player) -> None:
            if player.name == "generator":
                self.steps += 1
                if self.steps == 2:
                    self.weights = {name: p.detach().clone() for name, p in player.network.named_parameters()}
                    player.network.to_rgb.weight.grad[0, 0, 0, 0] = float("nan")
                self.network, self.average = player.network, player.tested

    poison = Poison()
    with pytest.raises(GuardError, match=r"generator's gradient is not finite after 32 images, first in to_rgb\.weight \(1 tensors\)"):
        fit_with(monkeypatch, poison, tmp_path, trainer={"log_every": 128})
    assert poison.steps == 4  # the host reads the guard when it writes a status line
    assert all(torch.equal(p, poison.weights[name]) for name, p in poison.network.named_parameters())
    assert all(p.isfinite().all() for p in poison.average.parameters())
    assert not checkpoints(tmp_path / "tiny")


def test_an_unlabelled_folder_is_refused_before_training(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "pictures").mkdir()
    for index in range(4):
        Image.new("RGB", (8, 8), (index, 0, 0)).save(tmp_path / "pictures" / f"{index}.png")
    data = {"kind": "folder", "path": str(tmp_path / "pictures"), "size": 8, "split": None}
    with pytest.raises(UserError, match="unlabelled"):
        recipe.fit(tiny(tmp_path, data=data))
    assert not (tmp_path / "tiny").exists()


def test_a_batch_that_the_micro_batches_do_not_divide_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="batch_size 16 is not divisible by micro_batches 3"):
        tiny(tmp_path, trainer={"micro_batches": 3})


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process reset its peak memory")
def test_status_lines_exclude_scores_and_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def scorer(*_: object) -> dict[str, float]:
        torch.ones(256 * 2**20)  # 1 GiB, as an extractor might
        return {"fd": 1.0}

    def slow_gates(self: SampleGrids, generator: nn.Module) -> dict[str, float]:
        time.sleep(4)
        return {"gate_entropy": 1.0}

    monkeypatch.setattr(gan_checks, "training_score", lambda *_: Mock(spec=ScorePlan))
    monkeypatch.setattr(recipe, "training_scorer", lambda *_: scorer)
    monkeypatch.setattr(SampleGrids, "gate_numbers", slow_gates)
    reset_peak_memory(torch.device("cpu"))
    before = peak_memory(torch.device("cpu")) / 2**30
    recipe.fit(tiny(tmp_path, trainer={"total_images": 64, "log_every": 64}, evaluation={"every": 32}))
    (line,) = (line for line in read_metrics(tmp_path / "tiny" / "metrics.jsonl") if "seconds_per_kimg" in line)
    assert line["seconds_per_kimg"] < 4 / 0.064
    assert line["peak_memory_gib"] < before + 0.5
