"""What a checkpoint holds beside networks and optimisers."""

from pathlib import Path

import pytest
import torch
from torch import nn

from gconv_gan.config.errors import UserError
from gconv_gan.optim.ema import Ema
from gconv_gan.training.checkpoint import load_checkpoint, save_checkpoint
from gconv_gan.training.state import GANProgress, GANState


class Counter(nn.Module):
    """Stands for an adaptive augmentation: state that training changes, and that is no network."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.register_buffer("value", torch.tensor(value))


def state(**extras: nn.Module) -> GANState:
    torch.manual_seed(0)
    generator, discriminator = nn.Linear(2, 3), nn.Linear(3, 1)
    optimizers = [torch.optim.Adam(network.parameters()) for network in (generator, discriminator)]
    return GANState(generator, discriminator, Ema(generator, half_life_images=10), *optimizers, GANProgress(images_seen=64), extras)


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
