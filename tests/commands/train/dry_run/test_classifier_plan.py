"""The dry run of a classifier prints the plan and writes nothing."""

from pathlib import Path

import numpy as np
import pytest

from gconv_gan.commands.train.classifier import main
from gconv_gan.commands.train.dry_run.classifier_plan import plan
from gconv_gan.data.cache import open_dataset
from tests.training.tiny_classifier import tiny_classifier


def test_the_plan_counts_images_steps_and_disk(tmp_path: Path) -> None:
    text = plan(tiny_classifier(tmp_path))
    dataset = open_dataset(tiny_classifier(tmp_path).data)
    assert dataset.labels is not None
    validation = [round(0.1 * count) for count in np.bincount(dataset.labels)]
    training = sum(round(0.25 * (count - held)) for count, held in zip(np.bincount(dataset.labels), validation, strict=True))
    assert f"data: {training} training, {sum(validation)} validation, 359 test images; 10 classes" in text
    assert "images: 480 = 1.5 epochs = 30 steps of 16" in text
    assert "at most 11 kept" in text
    assert '"name": "wrn_10_1"' in text
    assert not (tmp_path / "tiny").exists()


def test_dry_run_is_a_flag_of_the_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tiny.json").write_text(tiny_classifier(tmp_path).model_dump_json())
    main([str(tmp_path / "tiny.json"), "--trainer.total-images", "960", "--trainer.log-every", "960", "--dry-run"])
    shown = capsys.readouterr().out
    assert "images: 960 = 3.0 epochs = 60 steps of 16" in shown
    assert "\nlog: a single status line, at the end (trainer.log_every)\n" in shown
    assert not (tmp_path / "tiny").exists()
