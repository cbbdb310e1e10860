"""Affine warps: the content at p goes to M p."""

import math

import pytest
import torch

from gconv_gan.data.warp import double, halve, rotation, scale, shift, warp

SIZE = 24


def smooth(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """A picture without detail near the pixel, as a function of the place."""
    return torch.sin(0.45 * x + 0.2) * torch.cos(0.35 * y - 0.4)


def grid(size: int = SIZE) -> tuple[torch.Tensor, torch.Tensor]:
    places = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    y, x = torch.meshgrid(places, places, indexing="ij")
    return x, y


def one(value: float) -> torch.Tensor:
    return torch.tensor([value], dtype=torch.float64)


MAPS = {
    "shift": shift(one(1.7), one(-2.2)),
    "scale": scale(one(1.3), one(0.8)),
    "rotation": rotation(one(0.5)),
    "all": shift(one(0.4), one(1.1)) @ rotation(one(-2.0)) @ scale(one(0.9), one(1.2)),
}


@pytest.mark.parametrize("name", MAPS)
def test_a_smooth_picture_is_moved_as_its_formula_is(name: str) -> None:
    x, y = grid()
    inverse = torch.linalg.inv(MAPS[name])[0]
    expected = smooth(inverse[0, 0] * x + inverse[0, 1] * y + inverse[0, 2], inverse[1, 0] * x + inverse[1, 1] * y + inverse[1, 2])
    warped = warp(smooth(x, y)[None, None], MAPS[name])[0, 0]
    inside = slice(7, -7)  # nearer the border the mirrored outside comes in
    assert (warped - expected)[inside, inside].abs().max() < 0.01


def test_rotation_is_counter_clockwise_as_seen() -> None:
    images = torch.rand(1, 3, 8, 8, dtype=torch.float64)
    still = warp(images, shift(one(0.0), one(0.0)))
    torch.testing.assert_close(warp(images, rotation(one(math.pi / 2))), torch.rot90(still, 1, (2, 3)), rtol=0, atol=1e-9)


def test_far_away_is_the_mirrored_image() -> None:
    x, y = grid()
    images = smooth(x, y)[None, None]
    far = warp(images, shift(one(2.0 * (SIZE - 1)), one(0.0)))  # a whole period of the mirror images
    torch.testing.assert_close(far, warp(images, shift(one(0.0), one(0.0))), rtol=0, atol=1e-9)


def test_a_constant_stays_and_enlarging_puts_pixels_a_quarter_off() -> None:
    constant = torch.full((2, 3, 6, 6), 0.7, dtype=torch.float64)
    torch.testing.assert_close(warp(constant, MAPS["all"].expand(2, 3, 3)), constant, rtol=0, atol=1e-12)
    x, _ = grid(12)
    large = double(x[None, None])[0, 0]
    expected = (torch.arange(24, dtype=torch.float64) - 11.5) / 2
    torch.testing.assert_close(large[12, 8:16], expected[8:16], rtol=0, atol=0.02)
    assert halve(torch.zeros(1, 1, 2 * 9 + 10, 2 * 9 + 10)).shape == (1, 1, 9, 9)
