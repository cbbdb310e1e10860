"""Fine-tuning of a GAN through the training command: whose weights the networks start with, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gconv_gan.commands import export
from gconv_gan.commands.train import gan
from gconv_gan.commands.train.networks import load_run
from gconv_gan.config.errors import UserError
from tests.training.interrupted import GAN, At, PowerCutError, power_cut
from tests.training.tiny import final_files, tiny, toml

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


# ---- changed structure -------------------------------------------------------------------------------------------------

COMPRESSED: dict[str, dict[str, object]] = {
    "taylor": {"kind": "taylor", "every": 16, "units_per_step": 12, "removed": 0.1},
    "low_rank": {"kind": "low_rank", "factorise_at": 0, "removed": 0.6},
}


@pytest.fixture(scope="module", params=COMPRESSED)
def compressed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    gan.fit(tiny(folder, methods=[COMPRESSED[request.param]], **ONE_STEP))
    return request.param, folder / "tiny"


FILES = ("generator", "ema", "discriminator")


def shapes(checkpoint: Path, file: str) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in load_file(checkpoint / f"{file}.safetensors").items()}


def records(run: Path, images: int) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads((run / f"checkpoint-{images}" / "state.json").read_text())["methods"]
    return found


def test_a_changed_structure_is_taken_over_and_kept_by_a_killed_run(
    compressed: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    method, source = compressed
    moved = tmp_path / "moved"
    moved.symlink_to(source)
    long = {"start_from": str(moved), "trainer": {"total_images": 96, "checkpoint_every": 32}}
    GAN.fit_with(monkeypatch, At(64, lambda: None), tmp_path / "whole", **long)
    assert all(f"start_from: the {player} is changed as in {moved}, {method}: " in caplog.text for player in ("generator", "discriminator"))
    assert "random weights" not in caplog.text
    with pytest.raises(PowerCutError):
        GAN.fit_with(monkeypatch, At(64, power_cut), tmp_path / "killed", **long)
    moved.unlink()  # a resumed run needs no source
    GAN.fit_with(monkeypatch, At(64, lambda: None), tmp_path / "killed", **long)
    assert final_files(tmp_path / "killed", 96) == final_files(tmp_path / "whole", 96)
    for file in FILES:
        assert shapes(tmp_path / "whole/tiny/checkpoint-96", file) == shapes(source / "checkpoint-32", file)
    (record,) = records(tmp_path / "whole" / "tiny", 96)
    assert record == {**records(source, 32)[0], "networks": ["generator", "discriminator"]}

    gan.fit(tiny(tmp_path, name="fork", fork=str(tmp_path / "whole" / "tiny"), trainer={"total_images": 128, "checkpoint_every": 32}))
    assert records(tmp_path / "fork", 128) == [record]


def test_changed_networks_start_with_the_weights_that_they_had(compressed: tuple[str, Path], tmp_path: Path) -> None:
    _, source = compressed
    gan.fit(tiny(tmp_path, **frozen(source)))
    for file, weights in (("ema", "weight"), ("discriminator", "weight.original")):
        before, after = (load_file(run / f"{file}.safetensors") for run in (source / "checkpoint-32", tmp_path / "tuned/checkpoint-32"))
        names = [name for name in before if name.endswith(weights)]
        assert names
        assert all(torch.allclose(after[name], before[name], atol=1e-8) for name in names)


def test_a_method_acts_on_networks_that_were_changed_before(compressed: tuple[str, Path], tmp_path: Path) -> None:
    first, source = compressed
    (second,) = COMPRESSED.keys() - {first}
    method = {**COMPRESSED[second], "players": ["generator"], "removed": 0.4}
    trainer = {"total_images": 64, "checkpoint_every": 32}
    config = tiny(tmp_path, name="next", start_from=str(source), methods=[method], trainer=trainer)
    gan.fit(config)
    kinds = [record["method"]["kind"] for record in records(tmp_path / "next", 64)]  # type: ignore[index]
    assert kinds == [first, second]
    sizes = [
        sum(tensor.numel() for tensor in load_file(folder / "generator.safetensors").values())
        for folder in (source / "checkpoint-32", tmp_path / "next/checkpoint-64")
    ]
    assert sizes[1] < sizes[0]
    expected = final_files_of(tmp_path / "next", 64)
    shutil.rmtree(tmp_path / "next" / "checkpoint-64")
    gan.fit(config)
    assert final_files_of(tmp_path / "next", 64) == expected
    assert load_run(tmp_path / "next").generator()(torch.randn(2, 6), torch.arange(2)).isfinite().all()


def final_files_of(run: Path, images: int) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (run / f"checkpoint-{images}").iterdir()}


@pytest.mark.parametrize(
    "changes", [{"generator": {"width": 16}}, {"data": {"size": 16}}, {"conditional": False}], ids=["width", "size", "conditional"]
)
def test_other_networks_do_not_take_over_a_changed_structure(
    changes: dict[str, object], compressed: tuple[str, Path], tmp_path: Path
) -> None:
    _, source = compressed
    sentence = (
        "start_from: a training method changed the structure of the generator in .*, which is another generator than this run's: give"
    )
    with pytest.raises(UserError, match=sentence) as refusal:
        gan.fit(tiny(tmp_path, start_from=str(source), **ONE_STEP, **changes))
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "tiny").exists()


def test_a_fork_with_other_methods_is_refused_in_a_sentence(compressed: tuple[str, Path], tmp_path: Path) -> None:
    method, source = compressed
    with pytest.raises(UserError, match=f"was written with the methods {method}, and this run lists none: list the same"):
        gan.fit(tiny(tmp_path, fork=str(source), trainer={"total_images": 64}))


def test_an_absent_folder_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="^start_from: nowhere does not exist"):
        gan.fit(tiny(tmp_path, **frozen(Path("nowhere"))))
    assert not (tmp_path / "tuned").exists()
