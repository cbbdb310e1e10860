"""Conversion of pixels to the network's range and back, and mirroring."""

import math

import pytest
import torch

from gconv_gan.data.reading.transforms import flip, quantise, to_unit

ALL = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)


def test_to_unit_is_affine_with_the_ends_at_one() -> None:
    unit = to_unit(ALL).flatten()
    assert (unit[0].item(), unit[255].item(), unit.dtype) == (-1.0, 1.0, torch.float32)
    torch.testing.assert_close(unit.double(), torch.linspace(-1, 1, 256, dtype=torch.float64), rtol=0, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_quantise_inverts_to_unit(dtype: torch.dtype) -> None:
    assert quantise(to_unit(ALL).to(dtype)).equal(ALL)


def test_quantise_rounds_half_up_and_clips() -> None:
    x = torch.linspace(-1.2, 1.2, 2001, dtype=torch.float64)
    expected = [min(max(math.floor(127.5 * (value + 1) + 0.5), 0), 255) for value in x.tolist()]
    assert quantise(x.reshape(1, 1, 1, -1)).flatten().tolist() == expected
    assert quantise(torch.zeros(1, 1, 1, 1)).item() == 128  # 127.5 is the one tie that a float can hit: up


def test_quantise_computes_half_precision_in_single() -> None:
    x = torch.tensor([0.99, -0.99, 0.25], dtype=torch.bfloat16).reshape(1, 1, 1, 3)
    assert quantise(x).equal(quantise(x.double()))


def test_flip_mirrors_the_chosen_images_left_to_right() -> None:
    images = torch.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    flipped = flip(images, torch.tensor([False, True]))
    assert flipped[0].equal(images[0])
    assert flipped[1, :, :, 0].equal(images[1, :, :, 4])
    assert flipped[1, :, 2].equal(images[1, :, 2].flip(-1))
