"""Configs of earlier versions are read with their meaning."""

import json
from pathlib import Path
from typing import Any

import pytest

from gconv_gan.commands.train import gan as recipe
from gconv_gan.config.errors import UserError
from tests.training.tiny import final_files, tiny
from tests.training.tiny_classifier import tiny_classifier

PRECISIONS: dict[tuple[str | None, bool | None], str | None] = {
    (None, None): None,
    (None, True): None,
    (None, False): "fp32",
    ("no", None): "tf32",
    ("no", True): "tf32",
    ("no", False): "fp32",
    ("bf16", None): "bf16",
    ("bf16", True): "bf16",
    ("bf16", False): "bf16",
}


@pytest.mark.parametrize(("autocast", "tf32"), PRECISIONS)
def test_keys_of_precision(autocast: str | None, tf32: bool | None, tmp_path: Path) -> None:
    keys = {"mixed_precision": autocast, "tf32": tf32}
    given = {name: value for name, value in keys.items() if value is not None}
    for config in (tiny, tiny_classifier):
        for trainer in (keys, given):
            assert config(tmp_path, trainer=trainer).trainer.precision == PRECISIONS[autocast, tf32]


@pytest.mark.parametrize(
    ("trainer", "sentence"),
    [
        ({"tf32": "yes"}, "unknown key 'trainer.tf32'; did you mean 'precision'"),
        ({"mixed_precision": "fp16"}, "unknown key 'trainer.mixed_precision'; did you mean 'precision'"),
        ({"tf32": True, "precision": "fp32"}, "unknown key 'trainer.tf32'; did you mean 'precision'"),
    ],
)
def test_a_key_that_was_never_valid_is_refused(trainer: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=sentence):
        tiny(tmp_path, trainer=trainer)


def test_a_run_of_an_earlier_version_is_resumed(tmp_path: Path) -> None:
    short = {"total_images": 96, "checkpoint_every": 96}
    for total in (96, 192):
        recipe.fit(tiny(tmp_path, schedule={"kind": "constant"}, trainer={**short, "total_images": total}))
        saved = tmp_path / "tiny" / "config.json"
        data = json.loads(saved.read_text())
        assert data["trainer"].pop("precision") is None
        assert data["trainer"].pop("deterministic") == "auto"
        data["trainer"] |= {"mixed_precision": None, "tf32": None}
        saved.write_text(json.dumps(data))
    recipe.fit(tiny(tmp_path / "whole", schedule={"kind": "constant"}, trainer={**short, "total_images": 192}))
    assert final_files(tmp_path, 192) == final_files(tmp_path / "whole", 192)
