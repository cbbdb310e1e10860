"""Attacks: results within the ε-ball, raised loss, and exact results for linear networks."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gconv_gan.metrics.classification.attacks import fgsm, gaussian_noise, pgd, uniform_noise

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.rand(12, 3, 6, 6, generator=GENERATOR) * 2 - 1
LABELS = torch.randint(4, (12,), generator=GENERATOR)
EPSILON = 8 / 255


def curved() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Tanh(), nn.Flatten(), nn.Linear(128, 4))


def loss(network: nn.Module, images: Tensor) -> Tensor:
    network.eval()
    with torch.no_grad():
        return F.cross_entropy(network(images), LABELS, reduction="none")


def test_fgsm_of_two_classes_moves_every_pixel_by_epsilon_along_the_difference_of_their_weights() -> None:
    torch.manual_seed(1)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(108, 2))
    images, labels = IMAGES * 0.5, LABELS % 2
    difference = linear[1].weight[1 - labels] - linear[1].weight[labels]
    expected = images + 2 * EPSILON * difference.sign().reshape(images.shape)
    torch.testing.assert_close(fgsm(linear, images, labels, epsilon=EPSILON), expected.detach())


def test_attacks_stay_in_the_ball_and_in_the_range_and_raise_the_loss() -> None:
    network = curved()
    noise = uniform_noise(0, 0, IMAGES)
    one = fgsm(network, IMAGES, LABELS, epsilon=EPSILON)
    many = pgd(network, IMAGES, LABELS, epsilon=EPSILON, step=2 / 255, steps=20, noise=noise)
    for attacked in (one, many):
        assert (attacked - IMAGES).abs().max() <= 2 * EPSILON + 1e-6
        assert attacked.abs().max() <= 1
    clean, fast, slow = (loss(network, x) for x in (IMAGES, one, many))
    assert (fast > clean).all()
    assert slow.mean() > fast.mean()


def test_an_attack_does_not_change_the_network() -> None:
    network = curved().train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    fgsm(network, IMAGES, LABELS, epsilon=EPSILON)
    assert network.training
    assert all(p.requires_grad and p.grad is None for p in network.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_an_attack_works_where_gradients_are_off() -> None:
    with torch.no_grad():
        attacked = fgsm(curved(), IMAGES, LABELS, epsilon=EPSILON)
    assert not torch.equal(attacked, IMAGES)


def test_epsilon_zero_changes_nothing() -> None:
    assert torch.equal(fgsm(curved(), IMAGES, LABELS, epsilon=0.0), IMAGES)
    assert torch.equal(pgd(curved(), IMAGES, LABELS, epsilon=0.0, step=0.1, steps=3, noise=uniform_noise(0, 0, IMAGES)), IMAGES)


def test_noise_has_its_deviation_and_belongs_to_the_image() -> None:
    grey = torch.zeros(64, 3, 16, 16)
    noisy = gaussian_noise(grey, deviation=0.1, seed=0, first=100)
    assert abs(noisy.std().item() - 0.2) < 0.002  # twice, in [-1, 1]; 49,152 values: five standard errors are 0.0032
    assert torch.equal(noisy[3:5], gaussian_noise(grey[3:5], deviation=0.1, seed=0, first=103))
    assert not torch.equal(noisy[0], noisy[1])
    assert torch.equal(uniform_noise(0, 7, grey[:1]), uniform_noise(0, 0, grey)[7:8])
