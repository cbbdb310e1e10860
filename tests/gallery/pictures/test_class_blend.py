import dataclasses

import torch
from torch import nn

from gconv_gan.gallery.latents import fixed_latents
from gconv_gan.gallery.pictures.class_blend import blended_classes, draw_class_blend
from gconv_gan.gallery.trained_generator import TrainedGenerator
from tests.gallery.conftest import class_generator


class OneHot(nn.Module):
    """Classes enter without an embedding, where no blend can reach them."""

    def __init__(self) -> None:
        super().__init__()
        self.latent_dim, self.num_classes, self.image_size = 4, 3, 8
        self.linear = nn.Linear(7, 3 * 8 * 8)

    def forward(self, z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.linear(torch.cat([z, nn.functional.one_hot(y, 3).float()], 1)).tanh().view(-1, 3, 8, 8)


def test_a_blend_mixes_the_parameters_and_ends_at_the_partner() -> None:
    generator = class_generator()
    z, y, partner = fixed_latents(0, "test", count=3, latent_dim=6), torch.arange(3), torch.tensor([1, 2, 0])
    embedding = next(module for module in generator.modules() if isinstance(module, nn.Embedding))
    with torch.no_grad():
        with blended_classes(generator, partner, 0.25):
            torch.testing.assert_close(embedding(y), 0.75 * embedding.weight + 0.25 * embedding.weight[partner])
            between = generator(z, y)
        assert not torch.equal(between, generator(z, y))
        assert not torch.equal(between, generator(z, partner))
        with blended_classes(generator, partner, 1.0):
            blended = generator(z, y)
        assert torch.equal(blended, generator(z, partner))


def test_classes_that_no_blend_reaches_are_left_out(trained: TrainedGenerator) -> None:
    (drawing,) = draw_class_blend(dataclasses.replace(trained, generator=class_generator()), seed=0, rows=2, columns=3)
    assert drawing.row_labels == ("cat → dog", "dog → cow")
    assert draw_class_blend(dataclasses.replace(trained, generator=OneHot()), seed=0, rows=2, columns=3) == []
    assert draw_class_blend(trained, seed=0, rows=2, columns=3) == []  # its images do not depend on the class
