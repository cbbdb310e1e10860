"""The rows of a gallery page on the training settings."""

import json
from pathlib import Path

import pytest

from gconv_gan.commands.gallery_facts import circumstances, details, training_seconds
from tests.training.tiny import tiny


def test_rows_have_capitals_the_training_seed_and_plural_forms(tmp_path: Path) -> None:
    found = details(tiny(tmp_path), classes=None, g_steps=1200, parameters=(34567, 8901))
    assert all(name[0].isupper() for name in found)
    assert (found["Training seed"], found["Generator steps"], found["Parameters"]) == (
        "3",
        "1,200",
        "generator 34,567, discriminator 8,901",
    )
    assert found["Batch"] == "16, 2 discriminator steps per generator step"
    assert (found["Image size"], found["Classes"]) == ("8 × 8", "unconditional")
    assert "Training methods" not in found
    one = details(tiny(tmp_path, trainer={"n_dis": 1}), classes=None, g_steps=1, parameters=(1, 1))
    assert one["Batch"] == "16, 1 discriminator step per generator step"


def test_rows_name_learning_rates_penalty_augmentation_and_average(tmp_path: Path) -> None:
    changed = tiny(
        tmp_path,
        objective={"penalty": {"kind": "wgan_gp", "weight": 5.0, "every": 16}},
        augment={"kind": "diff_augment"},
        generator_optimizer={"kind": "adam", "learning_rate": 1e-4},
        ema={"half_life_images": 10_000, "ramp": 0.05},
    )
    found = details(changed, classes=None, g_steps=1, parameters=(1, 1))
    assert found["Gradient penalty"].startswith("wgan_gp, ")
    assert {"weight 5.0", "every 16"} <= set(found["Gradient penalty"].split(", "))
    assert found["Augmentation"].startswith("diff_augment")
    assert found["Learning rates"].startswith("0.0001 and ")
    assert found["Average of the weights"] == "half-life 10,000 images, at most 0.05 times the images seen"


def test_the_time_is_that_of_the_intervals_of_the_log() -> None:
    records = [{"images": 1000, "seconds_per_kimg": 2.0}, {"images": 1500}, {"images": 3000, "seconds_per_kimg": 5.0}]
    assert training_seconds(records) == pytest.approx(2.0 + 10.0)


def test_device_and_command_are_those_of_the_folder(tmp_path: Path) -> None:
    assert circumstances(tmp_path, []) == {}
    (tmp_path / "versions.json").write_text(json.dumps({"machine": "x86_64", "device": "NVIDIA H100"}))
    (tmp_path / "command.txt").write_text("train_gan.py first\ntrain_gan.py second\n")
    assert circumstances(tmp_path, []) == {"Device": "NVIDIA H100", "Command": "train_gan.py second"}


def test_training_methods_and_classes_are_named(tmp_path: Path) -> None:
    run = tiny(tmp_path, methods=[{"kind": "effective_learning_rates"}])
    found = details(run, classes=1000, g_steps=1, parameters=(1, 1))
    assert (found["Training methods"], found["Classes"]) == ("effective_learning_rates", "1,000")
