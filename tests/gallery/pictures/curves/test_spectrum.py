import dataclasses
import math
from xml.etree import ElementTree

import pytest
import torch

from gconv_gan.gallery.pictures.curves.spectrum import decibels, draw_spectrum, radial_power_spectrum
from gconv_gan.gallery.trained_generator import TrainedGenerator


def grey(pixels: torch.Tensor) -> torch.Tensor:
    return pixels.expand(-1, 3, -1, -1)


def test_white_noise_is_flat_at_its_variance() -> None:
    noise = 3 * torch.randn(400, 1, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(radial_power_spectrum(grey(noise)), torch.full((9,), 9.0, dtype=torch.float64), rtol=0.12, atol=0)


@pytest.mark.parametrize(("across", "down", "radius"), [(3, 0, 3), (0, 5, 5), (3, 4, 5)])
def test_a_sinusoid_has_its_power_at_its_radius(across: int, down: int, radius: int) -> None:
    side, amplitude = 16, 0.7
    position = torch.arange(side, dtype=torch.float64) * 2 * math.pi / side
    wave = amplitude * torch.cos(across * position + down * position[:, None])
    power = radial_power_spectrum(grey(wave[None, None]))
    members = sum(round(math.hypot(u, v)) == radius for u in range(-8, 8) for v in range(-8, 8))
    expected = torch.zeros(9, dtype=torch.float64)
    expected[radius] = 2 * (amplitude * side / 2) ** 2 / members  # two of the members hold (A s² / 2)² / s² each
    torch.testing.assert_close(power, expected, rtol=1e-9, atol=1e-12)


def test_power_at_zero_is_the_mean_and_bytes_are_taken_too() -> None:
    power = radial_power_spectrum(torch.full((2, 3, 8, 8), 50, dtype=torch.uint8))
    torch.testing.assert_close(power, torch.tensor([8**2 * 50.0**2, 0, 0, 0, 0], dtype=torch.float64))


def test_ten_decibels_are_a_factor_of_ten() -> None:
    assert decibels(torch.tensor([1.0, 10.0, 0.1], dtype=torch.float64)).tolist() == pytest.approx([0, 10, -10])


def test_without_real_images_there_is_no_spectrum(trained: TrainedGenerator) -> None:
    assert draw_spectrum(dataclasses.replace(trained, reals=None, training=None), seed=0, count=4) == []
    (drawing,) = draw_spectrum(trained, seed=0, count=4)
    assert drawing.facts["images"] == "4 samples, 4 real"
    groups = {one.get("data-name"): one for one in ElementTree.fromstring(drawing.content).iter("{http://www.w3.org/2000/svg}g")}
    assert list(groups) == ["training images", "samples"]
    assert str(groups["samples"].get("data-at")).split(" ") == ["1", "2", "3", "4"]
