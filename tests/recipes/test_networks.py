"""A run read back from its folder gives the networks it trained."""

import shutil
from pathlib import Path

import pytest
import torch

from gconv_gan.config.errors import UserError
from gconv_gan.recipes.networks import load_run


def test_averaged_and_raw_weights_are_read_at_any_checkpoint(tiny_run: Path) -> None:
    newest, earlier = load_run(tiny_run), load_run(tiny_run, images=160)
    assert (newest.images_seen, earlier.images_seen, newest.num_classes) == (480, 160, 10)
    z, y = torch.randn(2, 6), torch.tensor([3, 7])
    pictures = [run.generator(weights)(z, y) for run in (newest, earlier) for weights in ("ema", "raw")]
    assert all(torch.isfinite(picture).all() for picture in pictures)
    assert not any(torch.equal(pictures[0], other) for other in pictures[1:])
    assert not newest.generator().training
    assert newest.discriminator()(pictures[0], y).shape == (2,)


def test_what_is_no_run_is_said_to_be_none(tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not a run folder: it has no config\.json"):
        load_run(tmp_path)
    with pytest.raises(UserError, match=r"has no checkpoint at 7 images; it has \[480, 320, 160\]"):
        load_run(tiny_run, images=7)


def test_damage_is_named(tiny_run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "tiny"
    shutil.copytree(tiny_run, copy)
    (copy / "checkpoint-480" / "ema.safetensors").write_bytes(b"torn")
    assert load_run(copy).images_seen == 320
    with pytest.raises(UserError, match=r"checkpoint-480 is damaged: ema\.safetensors does not match its SHA-256"):
        load_run(copy, images=480)
