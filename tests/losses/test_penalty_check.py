"""Discriminators whose gradient cannot be penalised are refused before training, and are not modified by the check."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gconv_gan.config.errors import UserError
from gconv_gan.losses.penalties import R1
from gconv_gan.losses.penalty_check import check_penalty
from gconv_gan.models.gan.resnet import ResNetDiscriminator

PENALTY = R1()


def check(network: nn.Module, num_classes: int | None = None) -> None:
    check_penalty(PENALTY, network, kind="r1", image_size=8, num_classes=num_classes)


class Small(nn.Module):
    """conv, ``norm``, mean, and a linear head that starts at zero."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 4, 3), norm, nn.Linear(4, 1)
        nn.init.zeros_(self.head.weight)

    def forward(self, images: Tensor, y: Tensor | None = None) -> Tensor:
        return self.head(self.norm(self.conv(images)).tanh().mean((2, 3))).squeeze(1)


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(4), nn.BatchNorm2d(4, track_running_stats=False)])
def test_a_norm_over_the_batch_is_refused_by_name(norm: nn.Module) -> None:
    with pytest.raises(
        UserError, match=r'penalty\.kind = "r1" needs .* but norm \(BatchNorm2d\) couples the images of a batch: choose'
    ) as refusal:
        check(Small(norm))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("norm", [nn.GroupNorm(2, 4), nn.InstanceNorm2d(4), nn.Identity(), nn.LayerNorm([4, 6, 6])])
def test_a_norm_of_each_image_is_not(norm: nn.Module) -> None:
    check(Small(norm))


@pytest.mark.parametrize("num_classes", [None, 3])
def test_the_projection_discriminator_passes(num_classes: int | None) -> None:
    check(ResNetDiscriminator(image_size=8, width=4, num_classes=num_classes), num_classes)


class Once(torch.autograd.Function):
    """A function with a first derivative only."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


class OnceModule(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return Once.apply(x)


def test_an_operation_without_a_second_derivative_is_refused() -> None:
    with pytest.raises(UserError, match=r"differentiates the discriminator twice, which it does not support \(.*once_differentiable"):
        check(Small(OnceModule()))


def test_the_network_itself_is_untouched() -> None:
    network = Small(nn.GroupNorm(2, 4)).eval()
    torch.nn.utils.parametrizations.spectral_norm(network.conv)
    before = copy.deepcopy(network.state_dict())
    check(network)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not network.training
    assert all(p.grad is None for p in network.parameters())
