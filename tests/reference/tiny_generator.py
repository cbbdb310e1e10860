"""A tiny generator of 16-px images for tests of scores."""

import torch
from torch import Tensor, nn


class TinyGenerator(nn.Module):
    latent_dim, image_size = 6, 16

    def __init__(self, *, num_classes: int | None = None) -> None:
        super().__init__()
        self.num_classes = num_classes
        draw = torch.Generator().manual_seed(7)
        self.weight = nn.Parameter(torch.randn(6, 3 * 16, generator=draw) / 2)
        self.norm = nn.BatchNorm1d(48)

    def forward(self, z: Tensor, y: Tensor | None) -> Tensor:
        assert not self.norm.training
        x = self.norm(z @ self.weight).view(-1, 3, 4, 4)
        x = x if y is None else x + y.view(-1, 1, 1, 1) / 5
        return torch.tanh(nn.functional.interpolate(x, (16, 16), mode="bilinear"))
