"""Accuracy on perturbed images."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gconv_gan.data.batches.held_out import HeldOut
from gconv_gan.metrics.classification.predictions import hits, predictions
from gconv_gan.metrics.classification.robustness import accuracy_under, robustness
from tests.data.made import in_memory, noise


class Brightness(nn.Module):
    """A classifier of the mean grey level: class 1 above mid-grey."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(5.0))

    def forward(self, x: Tensor) -> Tensor:
        mean = self.slope * x.mean((1, 2, 3))
        return torch.stack([-mean, mean], 1)


def greys(*levels: int) -> HeldOut:
    images = np.stack([np.full((3, 4, 4), level, dtype=np.uint8) for level in levels])
    return HeldOut(in_memory(images, [int(level > 127) for level in levels], ("dark", "bright")), size=4)


def test_fgsm_and_pgd_turn_exactly_the_images_within_epsilon_of_the_boundary() -> None:
    data = greys(100, 117, 121, 126, 130, 134, 138, 150)  # distances from 127.5: 27.5, 10.5, 6.5, 1.5, 2.5, 6.5, 10.5, 22.5
    found = robustness(Brightness(), data, fgsm_epsilons=(0.0, 2.0, 8.0, 16.0), pgd_epsilons=(8.0,), batch_size=3)
    assert found == {
        "fgsm 0/255": 1.0,
        "fgsm 2/255": 7 / 8,
        "fgsm 8/255": 4 / 8,
        "fgsm 16/255": 2 / 8,
        "pgd20 8/255": 4 / 8,
    }


def test_noise_does_not_depend_on_the_batch_size() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    data = HeldOut(in_memory(noise(0, 40, 3, 8, 8), [i % 3 for i in range(40)], ("a", "b", "c")), size=8)
    a, b = (robustness(network, data, gaussian=(0.2,), pgd_epsilons=(4.0,), batch_size=size) for size in (40, 7))
    assert a == pytest.approx(b)
    assert a["gaussian 0.2"] != robustness(network, data, gaussian=(0.2,), seed=1)["gaussian 0.2"]


def test_without_perturbation_it_is_the_accuracy() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 3))
    data = HeldOut(in_memory(noise(0, 40, 3, 8, 8), [i % 3 for i in range(40)], ("a", "b", "c")), size=8)
    clean = float(hits(*predictions(network, data)).mean())
    assert accuracy_under(network, data, lambda x, _labels, _first: x, batch_size=11) == pytest.approx(clean)
