"""The transformation of consistency regularisation: mirror and reflected shift."""

import numpy as np
import torch

from gconv_gan.augment.weak_augment import NUMBERS_PER_IMAGE, weak_augment
from tests.reference.augmentations import shift_reflecting


def test_equals_the_loops() -> None:
    images, draws = torch.rand(50, 3, 16, 16), torch.rand(50, NUMBERS_PER_IMAGE, generator=torch.Generator().manual_seed(0))
    expected = []
    for image, (mirror, down, right) in zip(images.numpy(), draws.tolist(), strict=True):
        source = image[:, :, ::-1] if mirror < 0.5 else image
        expected.append(shift_reflecting(source, 2 - int(down * 5), 2 - int(right * 5)))
    assert weak_augment(images, draws).equal(torch.from_numpy(np.stack(expected)))


def test_gradients_of_every_order_flow() -> None:
    images, draws = torch.rand(2, 1, 8, 8, dtype=torch.float64, requires_grad=True), torch.rand(2, 3)
    assert torch.autograd.gradgradcheck(lambda x: weak_augment(x, draws).tanh(), images, fast_mode=True)
