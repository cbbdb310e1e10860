"""The Python interface gives the results and refusals of the commands."""

from pathlib import Path

import pytest
import torch

import gconv_gan
from gconv_gan.commands import export
from gconv_gan.commands import sample as sample_command
from gconv_gan.config.errors import UserError
from tests.training.tiny_classifier import tiny_classifier

TINY = {
    "name": "tiny",
    "conditional": True,
    "data": {"kind": "digits", "split": "test"},
    "generator": {"width": 8, "latent_dim": 6},
    "discriminator": {"width": 8},
    "trainer": {"total_images": 64, "batch_size": 32},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    trained = gconv_gan.train(TINY, runs_dir=str(folder), data={"cache_dir": str(folder / "cache")})
    assert isinstance(trained, gconv_gan.GAN)
    return trained.folder


def test_a_run_and_its_export_draw_the_images_of_the_command(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = gconv_gan.load(run)
    assert isinstance(trained, gconv_gan.GAN)
    assert trained.discriminator is not None
    export.main([str(run), "--out", str(tmp_path / "exported"), "--no-onnx"])
    exported = gconv_gan.load(tmp_path / "exported")
    assert isinstance(exported, gconv_gan.GAN)
    assert exported.discriminator is None
    size = sum(parameter.numel() for parameter in exported.generator.parameters())
    assert repr(exported) == (
        f"GAN of {tmp_path / 'exported'}, 64 images seen, 10 classes\n  generator: resnet, gives images [B, 3, 8, 8], {size:,} parameters"
    )
    assert repr(trained).startswith(f"GAN of {run}, ")
    assert [line.split(",")[0] for line in repr(trained).splitlines()[1:]] == ["  generator: resnet", "  discriminator: resnet"]
    assert exported.config == trained.config.model_copy(
        update={"runs_dir": Path(trained.config.runs_dir).name, "data": exported.config.data}
    )
    assert exported.config.data.cache_dir == "cache"  # no absolute path leaves the machine
    images = trained.sample(9, seed=4, label=2)
    assert images.dtype == torch.uint8
    assert exported.sample(9, seed=4, label=2).equal(images)
    assert trained.sample(3, seed=4, label=2).equal(images[:3])
    assert not trained.sample(9, seed=5, label=2).equal(images)
    assert not trained.sample(9, seed=4, label=3).equal(images)
    assert not trained.sample(9, seed=4, label=2, truncation=0.5).equal(images)
    drawn: list[torch.Tensor] = []
    monkeypatch.setattr(sample_command, "save_grid", lambda found, path, columns: drawn.append(found))
    sample_command.main([str(tmp_path / "exported"), "--num", "9", "--seed", "4", "--class", "2"])
    assert drawn[0].equal(images)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"label": 10}, "label 10: the classes are 0 to 9"),
        ({"label": "cat"}, "label cat: the classes are"),
        ({"num": 0}, "num must be at least 1, not 0"),
    ],
)
def test_a_wrong_argument_is_one_sentence(arguments: dict[str, object], sentence: str, run: Path) -> None:
    trained = gconv_gan.load(run)
    with pytest.raises(UserError, match=f"^{sentence}"):
        trained.sample(**{"num": 1, **arguments})


def test_what_cannot_be_loaded_or_trained_is_named(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere does not exist"):
        gconv_gan.load(tmp_path / "nowhere")
    with pytest.raises(UserError, match="unknown key 'generator.widht'; did you mean 'width'"):
        gconv_gan.train(TINY, **{"generator.widht": 3})
    with pytest.raises(UserError, match="score has no option 'protcol'; did you mean 'protocol'"):
        gconv_gan.score(run, protcol="fid2k")


def test_overrides_are_those_of_the_command_line(tmp_path: Path) -> None:
    shared = {"runs_dir": str(tmp_path), "data.cache_dir": str(tmp_path / "cache"), "trainer.total_images": 32}
    trained = gconv_gan.train(TINY, name="other", generator={"conv": {"kind": "gconv", "mode": "bank"}}, **shared)
    assert trained.config.generator.conv.mode == "bank"
    assert trained.config.generator.width == 8
    assert trained.folder == tmp_path / "other"


def test_a_classifier_shows_itself_in_two_lines(tmp_path: Path) -> None:
    network = torch.nn.Linear(2, 3)
    model = gconv_gan.Classifier(Path("runs/c"), network, tiny_classifier(tmp_path), ("a", "b", "c"), {"accuracy": 0.5, "top5": 1.0})
    first, second = repr(model).splitlines()
    assert first == "Classifier of runs/c, accuracy 0.5, top5 1"
    assert second.endswith("takes images [B, 3, 8, 8], gives 3 logits, 9 parameters")
