"""State in checkpoints besides networks and optimisers."""

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from gconv_gan.config.errors import UserError
from gconv_gan.methods.method import Player, Progress
from gconv_gan.optim.ema import Ema
from gconv_gan.training.checkpoint import load_checkpoint, save_checkpoint
from gconv_gan.training.state import TrainingState


class Counter(nn.Module):
    """State that training changes and that is no network, such as that of an adaptive augmentation."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.register_buffer("value", torch.tensor(value))


def state(**extras: nn.Module) -> TrainingState:
    torch.manual_seed(0)
    networks = {"generator": nn.Linear(2, 3), "discriminator": nn.Linear(3, 1)}
    players = {
        name: Player(
            name,
            network,
            lambda one: torch.optim.Adam(one.parameters()),
            1e-3,
            partial(Ema, half_life_images=10) if "gen" in name else None,
        )
        for name, network in networks.items()
    }
    return TrainingState(players, Progress(images_seen=64), extras)


def test_extra_state_comes_back_with_every_bit(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, state(counter=Counter(0.1)), keep=1, facts={}, report=print)
    assert (path / "counter.safetensors").is_file()
    fresh = state(counter=Counter(0.0))
    load_checkpoint(path, fresh)
    assert fresh.extras["counter"].value.equal(torch.tensor(0.1))


def test_extra_state_of_another_shape_is_refused(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, state(counter=Counter(0.1)), keep=1, facts={}, report=print)
    with pytest.raises(UserError, match=r"counter\.safetensors does not fit"):
        load_checkpoint(path, state(counter=nn.BatchNorm2d(2)))
