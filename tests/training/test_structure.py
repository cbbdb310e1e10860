"""A plug-in's method changes the structure of networks while they train, and every command reads such a run.

The commands run in processes of their own, since a table takes no rows after a config was read.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from gconv_gan.config.errors import UserError
from gconv_gan.models.changes import rebuild
from gconv_gan.runtime.script import run_command
from tests.processes import run_python, run_two
from tests.training.test_two_processes import free_ports
from tests.training.tiny import final_files, tiny
from tests.training.tiny_classifier import tiny_classifier

ROOT = Path(__file__).parents[2]
PLUGIN = str(ROOT / "tests" / "reference" / "narrowing.py")
TRAIN = {"gan": "gconv_gan.commands.train.gan", "classifier": "gconv_gan.commands.train.classifier"}
DRIVER = """
import importlib, json, sys
from gconv_gan.training import loop
from tests.reference.recorder import Recorder
if sys.argv[2:] == ["recorded"]:
    recorder = Recorder()
    loop.build_engine = lambda _, iterate, *, state, **__: recorder.engine(iterate, state)
for module, arguments in json.loads(sys.argv[1]):
    importlib.import_module(module).main(arguments)
"""

Commands = list[tuple[str, list[str]]]


def run(commands: Commands, *options: str, power_cut: int = 0) -> subprocess.CompletedProcess[str]:
    """Run commands of the package, with the plug-in, one after the other in one process."""
    listed = [(module, [*arguments, "--plugins", PLUGIN]) for module, arguments in commands]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "POWER_CUT": str(power_cut), "ACCELERATE_USE_CPU": "true"}
    return run_python(["-c", DRIVER, json.dumps(listed), *options], env=environment)


def done(*commands: tuple[str, list[str]], options: tuple[str, ...] = ()) -> str:
    result = run(list(commands), *options)
    assert result.returncode == 0, result.stderr
    return result.stdout


def written(folder: Path, task: str, **changes: Any) -> str:
    """Write the config of a tiny run whose structure changes after 192 images; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    start_from = changes.pop("start_from", None)
    config = (tiny if task == "gan" else tiny_classifier)(folder, **changes).model_dump(mode="json")
    methods = [{"kind": "orthogonal", "generator" if task == "gan" else "classifier": 1e-4}, {"kind": "narrowing", "images": 192}]
    path = folder / f"{task}.json"
    path.write_text(json.dumps({**config, "methods": methods, "start_from": start_from} if start_from else {**config, "methods": methods}))
    return str(path)


GAN: dict[str, Any] = {"generator": {"conv": {"kind": "plain"}}}
CLASSIFIER: dict[str, Any] = {"evaluation": {"every": 160, "select": "best"}}


@pytest.fixture(scope="module")
def gan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gan")
    done((TRAIN["gan"], [written(folder, "gan", **GAN)]))
    return folder


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classifier")
    done((TRAIN["classifier"], [written(folder, "classifier", **CLASSIFIER)]))
    return folder


def shapes(folder: Path, images: int, file: str) -> dict[str, tuple[int, ...]]:
    tensors = load_file(folder / "tiny" / f"checkpoint-{images}" / f"{file}.safetensors")
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def test_networks_averages_and_optimisers_of_a_gan_change_their_structure(gan: Path) -> None:
    for file in ("generator", "ema"):
        assert shapes(gan, 160, file)["blocks.0.conv1.weight"] == (8, 8, 3, 3)
        assert shapes(gan, 320, file)["blocks.0.conv1.weight"] == (4, 8, 3, 3)
        assert shapes(gan, 320, file)["blocks.0.norm2.scale.weight"] == (10, 4)
        assert shapes(gan, 320, file)["blocks.0.conv2.weight"] == (8, 4, 3, 3)
    assert shapes(gan, 320, "discriminator")["blocks.1.conv2.parametrizations.weight.original"] == (8, 4, 3, 3)
    moments = [name for name, shape in shapes(gan, 320, "generator_optimizer").items() if shape == (4, 8, 3, 3)]
    assert [name.partition(".")[2] for name in moments] == ["exp_avg", "exp_avg_sq"]
    before, after = (json.loads((gan / "tiny" / f"checkpoint-{images}" / "state.json").read_text())["methods"] for images in (160, 320))
    assert [record["facts"] for record in before] == [{}, {}]
    assert [record["facts"] for record in after] == [{}, {"kept": {"generator": 4, "discriminator": 4}}]
    assert [record["method"]["kind"] for record in before] == ["orthogonal", "narrowing"]


@pytest.mark.parametrize("images", [160, 352])  # before the change, and after it
def test_a_broken_gan_ends_with_the_bits_of_an_unbroken_one(images: int, gan: Path, tmp_path: Path) -> None:
    command = (TRAIN["gan"], [written(tmp_path, "gan", **GAN)])
    assert run([command], power_cut=images + 32).returncode == 9
    done(command)
    assert final_files(tmp_path) == final_files(gan)


def test_a_replayed_gan_is_the_called_one(gan: Path, tmp_path: Path) -> None:
    done((TRAIN["gan"], [written(tmp_path, "gan", **GAN)]), options=("recorded",))
    assert final_files(tmp_path) == final_files(gan)


def test_a_checkpoint_written_with_the_change_resumes(gan: Path, tmp_path: Path) -> None:
    fine = {**GAN, "trainer": {"checkpoint_every": 32}}
    command = (TRAIN["gan"], [written(tmp_path, "gan", **fine)])
    assert run([command], power_cut=224).returncode == 9  # the last checkpoint is that of 192 images
    assert max(shapes(tmp_path, 192, "generator_optimizer"), default=None) is None
    done(command)
    assert final_files(tmp_path) == final_files(gan)


def test_a_broken_gan_in_bfloat16_ends_with_the_bits_of_an_unbroken_one(tmp_path: Path) -> None:
    short = {**GAN, "trainer": {"precision": "bf16", "total_images": 256, "checkpoint_every": 224, "log_every": 256}}
    unbroken, broken = ((TRAIN["gan"], [written(tmp_path / name, "gan", **short)]) for name in ("unbroken", "broken"))
    done(unbroken)
    assert run([broken], power_cut=256).returncode == 9
    done(broken)
    assert final_files(tmp_path / "broken", 256) == final_files(tmp_path / "unbroken", 256)


def test_a_broken_classifier_ends_with_the_bits_of_an_unbroken_one(classifier: Path, tmp_path: Path) -> None:
    assert shapes(classifier, 320, "classifier")["network.trunk.stage1.0.branch.conv2.weight"] == (16, 8, 3, 3)
    command = (TRAIN["classifier"], [written(tmp_path, "classifier", **CLASSIFIER)])
    assert run([command], power_cut=352).returncode == 9
    done(command)
    assert final_files(tmp_path) == final_files(classifier)
    for name in ("model.safetensors", "model.json"):
        assert (tmp_path / "tiny" / name).read_bytes() == (classifier / "tiny" / name).read_bytes()


def test_the_best_checkpoint_of_a_classifier_has_its_own_structure(classifier: Path) -> None:
    model = json.loads((classifier / "tiny" / "model.json").read_text())
    inner = load_file(classifier / "tiny" / "model.safetensors")["network.trunk.stage1.0.branch.conv1.weight"]
    assert len(inner) == (16 if model["images_seen"] == 160 else 8)
    assert ("methods" in model) == (model["images_seen"] > 160)


def test_every_command_reads_a_changed_run(gan: Path, classifier: Path, tmp_path: Path) -> None:
    whole, out = str(gan / "tiny"), str(tmp_path / "exported")
    judge = tmp_path / "judge"
    shown = done(
        (TRAIN["classifier"], [written(judge, "classifier")]),  # its last weights, which are changed ones
        ("gconv_gan.commands.score.classifier_card", [str(judge / "tiny"), "--changed-images", "8", "--repeats", "1"]),
        ("gconv_gan.commands.score.scores", [whole, "--extractor", f"checkpoint:{judge / 'tiny'}", "--num-fake", "64"]),
        ("gconv_gan.commands.studies.lipschitz", [whole]),
        ("gconv_gan.commands.gallery", [whole, "--out", str(tmp_path / "gallery")]),
        ("gconv_gan.commands.export", [whole, "--out", out]),
        ("gconv_gan.commands.sample", [out, "--num", "4"]),
        (TRAIN["gan"], [str(gan / "gan.json"), "--dry-run"]),
    )
    assert json.loads((judge / "tiny" / "model.json").read_text())["methods"][0]["facts"] == {"kept": {"classifier": 8}}
    assert "ResampledConv2d" in shown
    exported = json.loads((tmp_path / "exported" / "config.json").read_text())["methods"]
    assert exported == [
        {
            "method": {"kind": "narrowing", "images": 192, "players": ["generator", "discriminator", "classifier"]},
            "facts": {"kept": {"generator": 4, "discriminator": 4}},
        }
    ]
    check = f"""
import torch, gconv_gan
from gconv_gan.config.plugins import load_plugins
load_plugins([{PLUGIN!r}])
run, exported = gconv_gan.load({whole!r}), gconv_gan.load({out!r})
assert run.generator.blocks[0].conv1.weight.shape[0] == 4
assert run.discriminator.blocks[1].conv1.weight.shape[0] == 4
assert torch.equal(run.sample(3, seed=1), exported.sample(3, seed=1))
assert gconv_gan.load({str(judge / "tiny")!r}).network.network.trunk.stage1[0].branch.conv1.weight.shape[0] == 8
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = run_python(["-c", check], env=environment)
    assert result.returncode == 0, result.stderr

    start = written(tmp_path / "next", "classifier", start_from=str(judge / "tiny"), trainer={"total_images": 96})
    done((TRAIN["classifier"], [start]), ("gconv_gan.commands.score.classifier_card", [str(tmp_path / "next" / "tiny"), "--repeats", "1"]))
    assert len(load_file(tmp_path / "next" / "tiny" / "model.safetensors")["network.trunk.stage1.0.branch.conv1.weight"]) == 8
    other = written(tmp_path / "other", "classifier", start_from=str(judge / "tiny"), standardise=False)
    refused = run([(TRAIN["classifier"], [other])])
    assert "start_from: a training method changed the network in" in refused.stderr
    assert "which has standardise = true: set the same here" in refused.stderr


def test_an_unknown_method_is_refused_in_one_sentence(tmp_path: Path) -> None:
    records = [{"method": {"kind": "narrowing", "images": 1}, "facts": {"kept": {"generator": 4}}}]
    with pytest.raises(UserError, match="the training method 'narrowing', which changed the network, is not known: give --plugins"):
        rebuild("generator", torch.nn.Linear(2, 2), records, source=tmp_path)


def one_of_two(rank: int, config: str, port: int) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "ACCELERATE_USE_CPU": "true"}
    os.environ["MASTER_PORT"] = str(port)
    sys.argv = ["train_gan.py", config, "--plugins", PLUGIN]
    run_command(TRAIN["gan"])


def test_two_processes_change_what_one_changes_and_measure_the_same_losses(tmp_path: Path) -> None:
    # Adam's denominator as in test_two_processes
    adam = {"learning_rate": 0.02, "eps": 0.1}
    changes = {**GAN, "generator_optimizer": adam, "discriminator_optimizer": adam, "trainer": {"total_images": 288, "n_dis": 1}}
    one, two = (written(tmp_path / name, "gan", **changes) for name in ("one", "two"))
    done((TRAIN["gan"], [one]))
    run_two(one_of_two, two, free_ports(1)[0])
    for file in ("generator", "discriminator", "ema", "measured"):
        ours, theirs = (load_file(tmp_path / name / "tiny" / "checkpoint-288" / f"{file}.safetensors") for name in ("two", "one"))
        assert ours.keys() == theirs.keys()
        for key, value in ours.items():
            torch.testing.assert_close(value, theirs[key], rtol=1e-4, atol=1e-5, msg=lambda text, key=key: f"{key}: {text}")
        if file == "measured":  # generator and discriminator at the start: the same weights, the same bits
            assert torch.equal(ours["losses"][:2], theirs["losses"][:2])
            assert (ours["losses"] != 0).all()
