"""Scale-initialised BatchNorm: every type of BatchNorm, exceptions, and the BatchNorm of the images."""

import copy

import pytest
import torch
from torch import nn

from gconv_gan.layers.conditioning import Condition
from gconv_gan.layers.initialisers import glorot_
from gconv_gan.layers.lipschitz.spectral_norm import spectral_norm
from gconv_gan.layers.norms.batch_norm import BatchNorm2d, ConditionalBatchNorm2d, LatentBatchNorm2d
from gconv_gan.layers.norms.batch_norm_init import InputBatchNorm2d, initialise_batch_norms
from gconv_gan.layers.norms.self_modulation import SelfModulatedBatchNorm2d


def test_every_batch_norm_starts_small_and_computes_what_torchs_does() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), BatchNorm2d(4), nn.Sequential(nn.BatchNorm2d(4), nn.BatchNorm1d(4, affine=False)))
    nn.init.normal_(network[1].bias)
    initialise_batch_norms(network)
    for norm in (network[1], network[2][0]):
        assert torch.equal(norm.weight, torch.full((4,), 0.1))
        assert torch.equal(norm.bias, torch.zeros(4))
    reference, x = nn.BatchNorm2d(4), torch.randn(3, 4, 5, 5)
    reference.load_state_dict(network[1].state_dict())
    for training in (True, False):
        assert torch.equal(network[1].train(training)(x), reference.train(training)(x))


def test_the_scales_of_classes_start_small_and_their_shifts_at_zero() -> None:
    torch.manual_seed(0)
    norm, x = ConditionalBatchNorm2d(4, 3), torch.randn(3, 4, 5, 5)
    initialise_batch_norms(norm)
    assert torch.equal(norm.scale.weight, torch.full((3, 4), 0.1))
    assert torch.equal(norm.shift.weight, torch.zeros(3, 4))
    torch.testing.assert_close(norm(x, Condition(y=torch.tensor([0, 1, 2]))), 0.1 * nn.BatchNorm2d(4)(x), rtol=0, atol=1e-6)


def test_a_self_modulated_norm_shrinks_with_its_variation() -> None:
    torch.manual_seed(0)
    norm, x, condition = SelfModulatedBatchNorm2d(4, 5), torch.randn(3, 4, 5, 5), Condition(z=torch.randn(3, 5))
    before = norm(x, condition) - norm.shift(torch.relu(norm.hidden(condition.z)))[:, :, None, None]
    initialise_batch_norms(norm, 0.2)
    after = norm(x, condition) - norm.shift(torch.relu(norm.hidden(condition.z)))[:, :, None, None]
    torch.testing.assert_close(after, 0.2 * before)


@pytest.mark.parametrize("normalised", [False, True])
def test_a_latent_norm_shrinks_with_its_variation_also_under_spectral_norm(normalised: bool) -> None:
    torch.manual_seed(0)
    norm, x, condition = LatentBatchNorm2d(4, 5), torch.randn(3, 4, 5, 5), Condition(z=torch.randn(3, 5))
    small = copy.deepcopy(norm)
    initialise_batch_norms(small, 0.2)
    for each in (norm, small):
        nn.init.zeros_(each.shift.weight)
        if normalised:
            torch.manual_seed(1)
            spectral_norm(each.scale)
    torch.testing.assert_close(small(x, condition), 0.2 * norm(x, condition))


def test_closed_branches_stay_closed_and_norms_may_be_skipped() -> None:
    network = nn.Sequential(BatchNorm2d(4), BatchNorm2d(4), nn.GroupNorm(2, 4))
    nn.init.zeros_(network[0].weight)
    initialise_batch_norms(network, skip=[network[1]])
    assert not network[0].weight.any()
    assert torch.equal(network[1].weight, torch.ones(4))
    assert torch.equal(network[2].weight, torch.ones(4))


def test_initialising_the_other_layers_afterwards_leaves_scales_alone() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), BatchNorm2d(4))
    initialise_batch_norms(network)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            glorot_(module)
    assert torch.equal(network[1].weight, torch.full((4,), 0.1))
    with pytest.raises(TypeError, match="no initialisation"):
        glorot_(network[1])


def test_images_enter_with_the_deviation_of_scaled_rectified_features() -> None:
    torch.manual_seed(0)
    norm, images = InputBatchNorm2d(), torch.rand(64, 3, 16, 16)
    y = norm(images)
    torch.testing.assert_close(norm.weight, torch.full((3,), 0.058))
    torch.testing.assert_close(y.std((0, 2, 3)), torch.full((3,), 0.058), rtol=0.01, atol=0)
    y.square().sum().backward()
    assert norm.bias.grad is None
    assert norm.weight.grad.any()
    rectified = torch.relu(torch.randn(1_000_000, generator=torch.Generator().manual_seed(0)))
    assert InputBatchNorm2d(scale=1.0).weight[0].item() == pytest.approx(rectified.std().item(), abs=0.005)


def test_the_last_norm_may_start_otherwise() -> None:
    network = nn.Sequential(BatchNorm2d(4), ConditionalBatchNorm2d(4, 3), nn.Conv2d(4, 3, 3), nn.GroupNorm(1, 3))
    initialise_batch_norms(network, last_scale=1.0)
    assert torch.equal(network[0].weight, torch.full((4,), 0.1))
    assert torch.equal(network[1].scale.weight, torch.ones(3, 4))


def test_a_scale_that_is_not_positive_is_refused() -> None:
    with pytest.raises(ValueError, match="must be positive"):
        initialise_batch_norms(BatchNorm2d(2), 0.0)
