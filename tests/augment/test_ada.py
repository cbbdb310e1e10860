"""StyleGAN2-ADA's augmentations against loops and matrices, and their properties."""

import numpy as np
import pytest
import torch

from gconv_gan.augment.ada import BLIT, COLOR, GEOMETRY, ADAPipeline, blitted, cut_out, moved, recoloured
from gconv_gan.augment.warp import warp
from tests.reference.augmentations import ada_blit, ada_color, ada_matrix


def drawn(count: int, size: int, numbers: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 3, size, size, generator=generator, dtype=torch.float64) * 2 - 1
    return images, torch.rand(count, numbers, generator=generator, dtype=torch.float64)


def tensor(p: float) -> torch.Tensor:
    return torch.tensor(p, dtype=torch.float64)


@pytest.mark.parametrize("p", [0.4, 1.0])
@pytest.mark.parametrize("size", [8, 32])
def test_flips_turns_and_shifts_equal_the_loops_bit_for_bit(size: int, p: float) -> None:
    images, draws = drawn(60, size, BLIT)
    expected = [ada_blit(image.numpy(), u.numpy(), p) for image, u in zip(images, draws, strict=True)]
    assert blitted(images, draws, tensor(p)).equal(torch.from_numpy(np.stack(expected)))


@pytest.mark.parametrize("p", [0.5, 1.0])
def test_geometry_is_the_product_of_the_papers_matrices(p: float) -> None:
    images, draws = drawn(20, 8, GEOMETRY)
    matrices = torch.from_numpy(np.stack([ada_matrix(u.numpy(), p, 8) for u in draws]))
    expected = warp(images, matrices[:, :2], (matrices != torch.eye(3)).any(2).any(1))
    torch.testing.assert_close(moved(images, draws, tensor(p)), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("p", [0.5, 1.0])
def test_colour_is_that_of_the_pixel_vectors(p: float) -> None:
    images, draws = drawn(40, 4, COLOR)
    expected = [ada_color(image.numpy(), u.numpy(), p) for image, u in zip(images, draws, strict=True)]
    torch.testing.assert_close(recoloured(images, draws, tensor(p)), torch.from_numpy(np.stack(expected)), rtol=0, atol=1e-12)


def test_a_cut_out_blanks_a_quarter_of_the_image_where_it_lies_inside() -> None:
    images, _ = drawn(3, 8, 1)
    draws = torch.tensor([[0.0, 0.5, 0.5], [0.0, 0.25, 0.75], [0.9, 0.5, 0.5]], dtype=torch.float64)
    result = cut_out(images, draws, tensor(0.5))
    assert (result[0, :, 2:6, 2:6] == 0).all()
    assert (result[1, :, 0:4, 4:8] == 0).all()
    assert [int((r == 0).sum()) for r in result] == [48, 48, 0]


def test_probability_zero_changes_nothing_and_one_changes_everything() -> None:
    pipeline = ADAPipeline(cutout=1.0)
    images, draws = drawn(30, 8, pipeline.numbers_per_image)
    assert pipeline.augmented(images, draws, 0.0).equal(images)
    changed = (pipeline.augmented(images, draws, 1.0) != images).flatten(1).any(1)
    assert changed.all()


def test_each_step_comes_with_probability_p() -> None:
    # mirror, turns, shift: left as they were by chance with 1/2, 1/4 and (1 - 1/2 · 1/2)-ish; colour is never
    images, draws = drawn(4000, 4, COLOR)
    share = (recoloured(images, draws, tensor(0.1)) != images).flatten(1).any(1).double().mean().item()
    expected = 1 - 0.9**4 * (1 - 0.05)  # the luma flip is one of two
    assert abs(share - expected) < 4 * (expected * (1 - expected) / 4000) ** 0.5


def test_factors_scale_the_probability_of_their_group() -> None:
    images, draws = drawn(30, 8, ADAPipeline.numbers_per_image)
    alone = ADAPipeline(blit=0.0, geometry=0.0, color=0.5).augmented(images, draws, 0.8)
    assert alone.equal(recoloured(images, draws[:, BLIT + GEOMETRY : -3], tensor(0.4)))
    assert ADAPipeline(blit=5.0, geometry=0.0, color=0.0).augmented(images, draws, 0.8).equal(blitted(images, draws[:, :BLIT], tensor(1.0)))


def test_images_do_not_mix_and_float32_stays_float32() -> None:
    pipeline = ADAPipeline(cutout=1.0)
    images, draws = (t.float() for t in drawn(6, 8, pipeline.numbers_per_image))
    whole = pipeline.augmented(images, draws, 0.7)
    assert whole.dtype == torch.float32
    torch.testing.assert_close(torch.cat([pipeline.augmented(images[i : i + 1], draws[i : i + 1], 0.7) for i in range(6)]), whole)


def test_it_can_be_differentiated_twice() -> None:
    pipeline = ADAPipeline(cutout=1.0)
    images, draws = drawn(1, 5, pipeline.numbers_per_image, seed=1)
    images.requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: pipeline.augmented(x, draws, 1.0).tanh(), images, fast_mode=True)
