"""Whole runs: exact resume, refusals, guards, what lies in the run folder."""

import hashlib
import json
import os
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gconv_gan.config.errors import UserError
from gconv_gan.recipes import gan as recipe
from gconv_gan.runtime.tracking import read_metrics
from gconv_gan.training.checkpoint import checkpoints
from gconv_gan.training.gan import GANTraining, train_gan
from gconv_gan.training.guards import GuardError, StoppedBySignalError
from gconv_gan.training.hooks import Hook, Player
from tests.training.tiny import final_files, merge, tiny


class PowerCutError(Exception):
    """Stands for whatever ends a process without warning."""


class At(Hook):
    """Call ``action`` when the discriminator steps at ``images`` images seen."""

    def __init__(self, images: int, action: object) -> None:
        self.images, self.action = images, action

    def after_backward(self, player: Player, network: nn.Module) -> None:
        self.network = network

    def after_step(self, player: Player, network: nn.Module, images_seen: int) -> None:
        if player == "discriminator" and images_seen == self.images:
            self.action()


def fit_with(monkeypatch: pytest.MonkeyPatch, hook: Hook, folder: Path, **changes: object) -> None:
    def with_hook(run: GANTraining, accelerator: object) -> object:
        return train_gan(GANTraining(**{**vars(run), "hooks": (*run.hooks, hook)}), accelerator)

    with monkeypatch.context() as patch:
        patch.setattr(recipe, "train_gan", with_hook)
        recipe.fit(tiny(folder, **changes))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    recipe.fit(tiny(folder))
    return folder


def test_training_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    recipe.fit(tiny(tmp_path, augment={"kind": "ada", "initial_probability": 0.5}, trainer={"total_images": 64}))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_run_of_an_earlier_version_is_refused_in_one_sentence(unbroken: Path, tmp_path: Path) -> None:
    shutil.copytree(unbroken / "tiny", tmp_path / "tiny")
    for _, path in checkpoints(tmp_path / "tiny"):
        state = json.loads((path / "state.json").read_text())
        assert state.pop("format") == 2
        (path / "state.json").write_text(json.dumps(state))
        lines = (path / "SHA256SUMS").read_text().splitlines()
        new = hashlib.sha256((path / "state.json").read_bytes()).hexdigest()
        (path / "SHA256SUMS").write_text("".join(f"{new}  state.json\n" if "state.json" in line else f"{line}\n" for line in lines))
    with pytest.raises(UserError, match=r"checkpoint-\d+ was written in format 1 .* draws other random numbers .* under another --name"):
        recipe.fit(tiny(tmp_path))


def power_cut() -> None:
    raise PowerCutError


@pytest.mark.parametrize("images", [176, 336, 464])  # digits' test split has 360 images: after 336 the next epoch has begun
def test_a_broken_run_ends_with_the_bits_of_an_unbroken_one(
    images: int, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PowerCutError):
        fit_with(monkeypatch, At(images, power_cut), tmp_path)
    torch.manual_seed(images)  # nothing may depend on torch's global generator
    recipe.fit(tiny(tmp_path))
    assert final_files(tmp_path) == final_files(unbroken)
    ours, theirs = (read_metrics(folder / "tiny" / "metrics.jsonl") for folder in (tmp_path, unbroken))
    for line in (*ours, *theirs):
        del line["seconds_per_kimg"], line["peak_memory_gib"]
    assert [line["images"] for line in ours] == [line["images"] for line in theirs]
    assert ours[-1] == theirs[-1]


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
    "trainer": {"micro_batches": 2},
}


@pytest.mark.parametrize("changes", [EVERYTHING, RELATIVISTIC], ids=["everything", "relativistic"])
def test_a_broken_run_with_a_rich_objective_ends_with_the_bits_of_an_unbroken_one(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = merge({"trainer": {"total_images": 320, "sample_every": 320}}, changes)
    recipe.fit(tiny(tmp_path / "unbroken", **changes))
    with pytest.raises(PowerCutError):
        fit_with(monkeypatch, At(208, power_cut), tmp_path / "broken", **changes)
    torch.manual_seed(7)
    recipe.fit(tiny(tmp_path / "broken", **changes))
    ours, theirs = final_files(tmp_path / "broken", 320), final_files(tmp_path / "unbroken", 320)
    assert ours == theirs
    lines = read_metrics(tmp_path / "unbroken" / "tiny" / "metrics.jsonl")
    assert all(torch.isfinite(torch.tensor(list(line.values()))).all() for line in lines)
    if "lecam" in changes["objective"]:
        assert {"augment.safetensors", "lecam.safetensors"} <= ours.keys()
        assert len({line["augment_p"] for line in lines}) > 3
        assert {"consistency", "lecam", "lecam_real", "sign_real"} <= lines[-1].keys()
        assert re.search(r"consistency \d+\.\d+  LeCam \d+\.\d+", (tmp_path / "unbroken" / "tiny" / "log.txt").read_text())
        assert {"penalty" in line for line in lines} == {True, False}  # lazy: not in every line
    else:
        assert lines[-1]["augment_p"] == pytest.approx(0.55)


def test_a_finished_run_may_be_lengthened_where_no_schedule_ends_with_it(unbroken: Path, tmp_path: Path) -> None:
    constant: dict[str, Any] = {"schedule": {"kind": "constant"}}
    recipe.fit(tiny(tmp_path / "at_once", trainer={"total_images": 320}, **constant))
    recipe.fit(tiny(tmp_path / "in_two", trainer={"total_images": 192}, **constant))
    recipe.fit(tiny(tmp_path / "in_two", trainer={"total_images": 320}, **constant))
    assert final_files(tmp_path / "in_two", 320) == final_files(tmp_path / "at_once", 320)
    with pytest.raises(UserError, match="other settings: trainer.total_images: 480 -> 960"):
        recipe.fit(tiny(unbroken, trainer={"total_images": 960}))


def test_another_seed_gives_other_weights(unbroken: Path, tmp_path: Path) -> None:
    recipe.fit(tiny(tmp_path, seed=4))
    assert final_files(tmp_path)["generator.safetensors"] != final_files(unbroken)["generator.safetensors"]


def test_finished_means_finished(unbroken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = final_files(unbroken)
    capsys.readouterr()
    recipe.fit(tiny(unbroken))
    assert final_files(unbroken) == before
    said = capsys.readouterr().out
    assert "checkpoint-480 is complete: all 480 images of trainer.total_images were seen" in said
    assert "its schedule ends with it, so train for longer under a new --name" in said
    assert "resuming" not in said


def test_a_finished_run_says_how_to_lengthen_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        capsys.readouterr()
        recipe.fit(tiny(tmp_path, trainer={"total_images": 64}, schedule={"kind": "constant"}))
    assert "nothing is left to train; to lengthen it, give a larger --trainer.total-images" in capsys.readouterr().out


def test_without_a_whole_checkpoint_the_run_says_that_it_starts_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short: dict[str, Any] = {"trainer": {"total_images": 64}}
    recipe.fit(tiny(tmp_path, **short))
    lines = read_metrics(tmp_path / "tiny" / "metrics.jsonl")
    assert "starts again" not in capsys.readouterr().out
    (tmp_path / "tiny" / "checkpoint-64" / "ema.safetensors").unlink()
    recipe.fit(tiny(tmp_path, **short))
    assert f"no checkpoint in {tmp_path / 'tiny'} is whole: training starts again at 0 images" in capsys.readouterr().out
    again = read_metrics(tmp_path / "tiny" / "metrics.jsonl")
    assert [line["images"] for line in again] == [line["images"] for line in lines]


def test_the_run_folder_holds_what_the_design_promises(unbroken: Path) -> None:
    folder = unbroken / "tiny"
    assert [images for images, _ in checkpoints(folder)] == [480, 320, 160]
    for name in ("config.json", "command.txt", "versions.json", "log.txt", "samples/reals.png", "samples/0.png", "samples/480.png"):
        assert (folder / name).is_file(), name
    assert list((folder / "events").iterdir())
    last = read_metrics(folder / "metrics.jsonl")[-1]
    assert last["images"] == 480
    expected = {"loss_d", "loss_g", "accuracy_real", "accuracy_fake", "grad_norm_d", "grad_norm_g", "gate_entropy", "seconds_per_kimg"}
    assert expected <= last.keys()
    progress = json.loads((folder / "checkpoint-480" / "state.json").read_text())["progress"]
    assert (progress["images_seen"], progress["d_steps"], progress["g_steps"]) == (480, 30, 15)


def test_another_hyper_parameter_is_refused_and_named(unbroken: Path) -> None:
    with pytest.raises(UserError, match=r"trainer\.n_dis: 2 -> 1\. ") as refusal:
        recipe.fit(tiny(unbroken, trainer={"n_dis": 1}))
    assert str(refusal.value).count("->") == 1
    with pytest.raises(UserError, match=r'discriminator\.norm\.kind: "spectral" -> "none"'):
        recipe.fit(tiny(unbroken, discriminator={"norm": {"kind": "none"}}))


def test_cadence_may_change(unbroken: Path) -> None:
    recipe.fit(tiny(unbroken, trainer={"log_every": 64, "keep_checkpoints": 9}))


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(
    unbroken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
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
    assert final_files(tmp_path) == final_files(unbroken)


def test_only_the_newest_checkpoints_stay(tmp_path: Path) -> None:
    recipe.fit(tiny(tmp_path, trainer={"keep_checkpoints": 1}))
    assert [images for images, _ in checkpoints(tmp_path / "tiny")] == [480]


def test_a_non_finite_gradient_stops_before_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Poison(Hook):
        weights: dict[str, torch.Tensor]

        def after_backward(self, player: Player, network: nn.Module) -> None:
            self.network = network
            if player == "generator":
                self.weights = {name: p.detach().clone() for name, p in network.named_parameters()}
                network.to_rgb.weight.grad[0, 0, 0, 0] = float("nan")

    poison = Poison()
    with pytest.raises(GuardError, match=r"generator's gradient is not finite after 32 images, first in to_rgb\.weight"):
        fit_with(monkeypatch, poison, tmp_path)
    assert all(torch.equal(p, poison.weights[name]) for name, p in poison.network.named_parameters())


def test_sigterm_saves_and_the_run_goes_on_exactly(unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hook = At(224, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(StoppedBySignalError, match="SIGTERM"):
        fit_with(monkeypatch, hook, tmp_path)
    assert checkpoints(tmp_path / "tiny")[0][0] == 256  # the end of the iteration that was under way
    recipe.fit(tiny(tmp_path))
    assert final_files(tmp_path) == final_files(unbroken)


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
