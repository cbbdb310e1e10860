"""Fine-tuning of a GAN through the training command: whose weights the networks start with, and what is refused."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gconv_gan.commands import export
from gconv_gan.commands.train import gan
from gconv_gan.config.errors import UserError
from tests.training.tiny import tiny, toml

ONE_STEP = {"trainer": {"total_images": 32, "checkpoint_every": 32}}
"""One iteration."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    gan.fit(tiny(folder, trainer={"total_images": 160}))
    return folder / "tiny"


def frozen(start: Path, **changes: object) -> dict[str, object]:
    """Return the changes of a run whose weights hardly move, so that the first checkpoint shows what it started with."""
    still = {"kind": "sgd", "learning_rate": 1e-12, "momentum": 0.0, "weight_decay": 0.0}
    return {
        "name": "tuned",
        "start_from": str(start),
        "generator_optimizer": still,
        "discriminator_optimizer": still,
        **ONE_STEP,
        **changes,
    }


def test_the_networks_start_with_the_averaged_generator_and_the_discriminator(source: Path, tmp_path: Path) -> None:
    gan.fit(tiny(tmp_path, **frozen(source)))
    before, after = source / "checkpoint-160", tmp_path / "tuned" / "checkpoint-32"
    weights = {name: tensor for name, tensor in load_file(before / "ema.safetensors").items() if name.endswith("weight")}
    for file in ("generator.safetensors", "ema.safetensors"):
        tuned = load_file(after / file)
        assert all(torch.allclose(tuned[name], tensor, atol=1e-8) for name, tensor in weights.items())
    old, new = (load_file(folder / "discriminator.safetensors") for folder in (before, after))
    parameters = [name for name in old if name.endswith(("bias", "weight.original", ".weight"))]
    assert parameters
    assert all(torch.allclose(new[name], old[name], atol=1e-8) for name in parameters)


def test_an_exported_folder_gives_the_generator_alone(source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    export.main([str(source), "--out", str(tmp_path / "exported")])
    gan.fit(tiny(tmp_path, **frozen(tmp_path / "exported")))
    assert "holds no discriminator, which starts with random weights" in caplog.text
    exported, tuned = (
        load_file(tmp_path / "exported" / "generator.safetensors"),
        load_file(tmp_path / "tuned/checkpoint-32/ema.safetensors"),
    )
    assert all(torch.allclose(tuned[name], exported[name], atol=1e-8) for name in exported if name.endswith("weight"))


def test_tensors_of_another_shape_keep_their_random_weights_and_are_named(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = toml(tmp_path, **frozen(source, conditional=False))
    gan.main([str(path), "--dry-run"])
    printed = capsys.readouterr().out
    assert f"start: with the weights in {source}" in printed
    assert "tensors of the generator keep their random weights: " in printed


def test_a_resumed_run_does_not_read_the_source_again(source: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    moved.symlink_to(source)
    constant = {"schedule": {"kind": "constant"}}
    gan.fit(tiny(tmp_path, **frozen(moved, **constant)))
    moved.unlink()
    progress = gan.fit(tiny(tmp_path, **frozen(moved, **constant, trainer={"total_images": 64, "checkpoint_every": 32})))
    assert progress.images_seen == 64


def test_an_absent_folder_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="^start_from: nowhere does not exist"):
        gan.fit(tiny(tmp_path, **frozen(Path("nowhere"))))
    assert not (tmp_path / "tuned").exists()
