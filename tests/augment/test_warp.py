"""Affine warps: the image content at p moves to M p."""

import math

import pytest
import torch

from gconv_gan.augment import warp as module
from gconv_gan.augment.warp import double, halve, warp
from tests.reference.host_free import host_free

SIZE = 24


def smooth(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """A picture without detail near the pixel, as a function of the place."""
    return torch.sin(0.45 * x + 0.2) * torch.cos(0.35 * y - 0.4)


def grid(size: int = SIZE) -> tuple[torch.Tensor, torch.Tensor]:
    places = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    y, x = torch.meshgrid(places, places, indexing="ij")
    return x, y


def shift(right: float, down: float) -> torch.Tensor:
    return torch.tensor([[1.0, 0.0, right], [0.0, 1.0, down], [0.0, 0.0, 1.0]], dtype=torch.float64)


def scale(x: float, y: float) -> torch.Tensor:
    return torch.diag(torch.tensor([x, y, 1.0], dtype=torch.float64))


def rotation(angle: float) -> torch.Tensor:
    """Counter-clockwise, with y pointing down."""
    cos, sin = math.cos(angle), math.sin(angle)
    return torch.tensor([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)


def warped(images: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    return warp(images, matrix[None, :2].expand(len(images), 2, 3), torch.ones(len(images), dtype=torch.bool))


MAPS = {
    "shift": shift(1.7, -2.2),
    "scale": scale(1.3, 0.8),
    "rotation": rotation(0.5),
    "all": shift(0.4, 1.1) @ rotation(-2.0) @ scale(0.9, 1.2),
}


@pytest.mark.parametrize("name", MAPS)
def test_a_warp_of_a_smooth_picture_is_the_formula_at_the_moved_place(name: str) -> None:
    x, y = grid()
    inverse = torch.linalg.inv(MAPS[name])
    expected = smooth(inverse[0, 0] * x + inverse[0, 1] * y + inverse[0, 2], inverse[1, 0] * x + inverse[1, 1] * y + inverse[1, 2])
    found = warped(smooth(x, y)[None, None], MAPS[name])[0, 0]
    inside = slice(7, -7)  # nearer the border the mirrored outside comes in
    assert (found - expected)[inside, inside].abs().max() < 0.01


def test_rotation_is_counter_clockwise_as_seen() -> None:
    images = torch.rand(1, 3, 8, 8, dtype=torch.float64)
    still = warped(images, shift(0.0, 0.0))
    torch.testing.assert_close(warped(images, rotation(math.pi / 2)), torch.rot90(still, 1, (2, 3)), rtol=0, atol=1e-9)


def test_beyond_the_border_is_the_mirrored_image() -> None:
    x, y = grid()
    images = smooth(x, y)[None, None]
    far = warped(images, shift(2.0 * (SIZE - 1), 0.0))  # a whole period of the mirror images
    torch.testing.assert_close(far, warped(images, shift(0.0, 0.0)), rtol=0, atol=1e-9)


def test_a_constant_is_unchanged_and_enlarging_shifts_pixel_centres_by_a_quarter() -> None:
    constant = torch.full((2, 3, 6, 6), 0.7, dtype=torch.float64)
    torch.testing.assert_close(warped(constant, MAPS["all"]), constant, rtol=0, atol=1e-12)
    x, _ = grid(12)
    large = double(x[None, None])[0, 0]
    expected = (torch.arange(24, dtype=torch.float64) - 11.5) / 2
    torch.testing.assert_close(large[12, 8:16], expected[8:16], rtol=0, atol=0.02)
    assert halve(torch.zeros(1, 1, 2 * 9 + 10, 2 * 9 + 10)).shape == (1, 1, 9, 9)


def some_chosen() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(5, 2, 8, 8, generator=generator, dtype=torch.float64)
    matrices = torch.stack(list(MAPS.values()))[[0, 1, 2, 3, 3], :2]
    return images, matrices, torch.tensor([True, False, True, True, False])


def test_a_cpu_moves_the_chosen_images_as_other_devices_move_all() -> None:
    images, matrices, chosen = some_chosen()
    for move in (module._moved, module._moved_transposed):
        torch.testing.assert_close(module._of_chosen(move, images, matrices, chosen), module._of_all(move, images, matrices, chosen))
        with host_free():
            module._of_all(move, images, matrices, chosen)
    assert warp(images, matrices, chosen)[~chosen].equal(images[~chosen])
    nobody = torch.zeros_like(chosen)
    assert warp(images, matrices, nobody).equal(images)


def test_the_gradient_is_that_of_the_formula_and_can_be_differentiated_again() -> None:
    images, matrices, chosen = some_chosen()
    images.requires_grad_()
    weights = torch.randn(images.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (expected,) = torch.autograd.grad((module._of_all(module._moved, images, matrices, chosen) * weights).sum(), images)
    (found,) = torch.autograd.grad((warp(images, matrices, chosen) * weights).sum(), images)
    torch.testing.assert_close(found, expected)
    assert torch.autograd.gradgradcheck(lambda x: warp(x, matrices, chosen).tanh(), images, fast_mode=True)
