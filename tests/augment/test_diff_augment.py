"""DiffAugment against loops, its extreme parameters, independence of images, and second derivatives."""

import numpy as np
import pytest
import torch

from gconv_gan.augment.diff_augment import NUMBERS, DiffAugment
from tests.reference.augmentations import diff_augment


def drawn(count: int, size: int, numbers: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 3, size, size, generator=generator, dtype=torch.float64) * 2 - 1
    return images, torch.rand(count, numbers, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("size", [8, 10, 16])
def test_equals_the_loops(size: int) -> None:
    images, draws = drawn(20, size, 7)
    expected = [diff_augment(image.numpy(), u.numpy()) for image, u in zip(images, draws, strict=True)]
    torch.testing.assert_close(DiffAugment()(images, draws), torch.from_numpy(np.stack(expected)), rtol=0, atol=1e-12)


def test_the_extremes_of_every_number() -> None:
    images = drawn(1, 8, 7)[0]
    for u in (0.0, 1 - 2.0**-24):
        draws = torch.full((1, 7), u, dtype=torch.float64)
        expected = diff_augment(images[0].numpy(), draws[0].numpy())
        torch.testing.assert_close(DiffAugment()(images, draws)[0], torch.from_numpy(expected), rtol=0, atol=1e-12)


@pytest.mark.parametrize("policy", [("color",), ("translation",), ("cutout",), ("cutout", "color")])
def test_a_policy_takes_its_own_numbers_and_images_do_not_mix(policy: tuple[str, ...]) -> None:
    augment = DiffAugment(policy=policy)
    assert augment.numbers_per_image == sum(NUMBERS[name] for name in policy)
    images, draws = drawn(4, 8, augment.numbers_per_image)
    whole = augment(images, draws)
    assert not torch.equal(whole, images)
    torch.testing.assert_close(torch.cat([augment(images[i : i + 1], draws[i : i + 1]) for i in range(4)]), whole)


def test_it_can_be_differentiated_twice() -> None:
    images, draws = drawn(2, 8, 7)
    images.requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: DiffAugment()(x, draws).tanh(), images, fast_mode=True)
