"""Networks are built from a config, or loaded from a run folder with the weights of training."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gconv_gan.commands import export, gallery
from gconv_gan.commands.score import classifier_card, score_curve, scores
from gconv_gan.commands.studies import lipschitz
from gconv_gan.commands.train.networks import build_networks, load_run
from gconv_gan.config.errors import UserError
from gconv_gan.config.load import load_config
from gconv_gan.config.sections.runs import GANRunConfig
from tests.training.tiny import tiny
from tests.training.tiny_classifier import tiny_classifier


def test_averaged_and_raw_weights_are_read_at_any_checkpoint(tiny_run: Path) -> None:
    newest, earlier = load_run(tiny_run), load_run(tiny_run, checkpoint=160)
    assert (newest.images_seen, earlier.images_seen, newest.num_classes) == (480, 160, 10)
    z, y = torch.randn(2, 6), torch.tensor([3, 7])
    pictures = [run.generator(weights)(z, y) for run in (newest, earlier) for weights in ("ema", "raw")]
    assert all(torch.isfinite(picture).all() for picture in pictures)
    assert not any(torch.equal(pictures[0], other) for other in pictures[1:])
    assert not newest.generator().training
    assert newest.discriminator()(pictures[0], y).shape == (2,)


def test_a_folder_without_a_run_is_refused(tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not a run folder: it has no config\.json"):
        load_run(tmp_path)
    with pytest.raises(UserError, match=r"has no checkpoint at 7 images; it has \[480, 320, 160\]"):
        load_run(tiny_run, checkpoint=7)


def test_damaged_files_are_named(tiny_run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "tiny"
    shutil.copytree(tiny_run, copy)
    (copy / "checkpoint-480" / "ema.safetensors").write_bytes(b"torn")
    assert load_run(copy).images_seen == 320
    with pytest.raises(UserError, match=r"checkpoint-480 is damaged: ema\.safetensors does not match its SHA-256"):
        load_run(copy, checkpoint=480)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            ["--data.kind", "fashion_mnist", "--data.size", "28"],
            "networks for data.size = 28: generator: image_size 28 is not among",
        ),
        (["--data.kind", "cub"], "for data.size = 224: generator: image_size 224 is not among"),
    ],
)
def test_a_size_without_networks_is_refused(overrides: list[str], sentence: str) -> None:
    config = load_config(GANRunConfig, "configs/gan/cifar10_small.toml", overrides)
    with pytest.raises(UserError, match=sentence):
        build_networks(config, None)


@pytest.mark.parametrize(
    "main",
    [scores.main, score_curve.main, gallery.main, lipschitz.main, export.main],
    ids=["scores", "curve", "gallery", "lipschitz", "export"],
)
def test_a_classifiers_run_is_recognised_by_gan_commands(main: Callable[[list[str]], None], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(tiny_classifier(tmp_path).model_dump_json())
    with pytest.raises(UserError, match=rf"^{tmp_path} is a classifier's run; test it with gconv-gan test$"):
        main([str(tmp_path)])


def test_a_gan_run_is_recognised_by_classifier_commands(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(tiny(tmp_path).model_dump_json())
    with pytest.raises(UserError, match=rf"^{tmp_path} is a GAN's run; score it with gconv-gan score$"):
        classifier_card.main([str(tmp_path)])
