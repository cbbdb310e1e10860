"""Redundant channels planted between the first two convolutions of a trained classifier, of which the redundancy is then known.

Copies and dead channels leave the function of the network as it was; the others change it. Between the convolutions there is a ReLU and
nothing else.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gconv_gan.config.errors import UserError

STD = 0.3
"""Standard deviation of random filters, and of what reads them, in units of that of the other readers."""


@dataclass
class Between:
    """What connects two convolutions: filters with biases, and the weights that read them."""

    filters: Float[Tensor, "n i"]
    """With the bias in the last column."""
    readers: Float[Tensor, "n o"]
    draws: torch.Generator

    def add(self, filters: Float[Tensor, "m i"], readers: Float[Tensor, "m o"]) -> None:
        """Add channels."""
        self.filters, self.readers = torch.cat([self.filters, filters]), torch.cat([self.readers, readers])

    def copies(self, count: int, scale: Callable[[int], float] = lambda _: 1.0, noise: float = 0.0) -> None:
        """Add scaled copies of the first filters: the k-th keeps the fraction (3 + k) / 10 of what reads it, its copy has the rest."""
        for k in range(count):
            share, factor = (3 + k) / 10, scale(k)
            filters, readers = self.filters[k : k + 1], self.readers[k : k + 1]
            error = torch.randn(filters.shape, generator=self.draws) * filters.square().mean().sqrt()
            self.add(factor * filters + noise * error, (1 - share) / factor * readers)
            self.readers[k] *= share

    def dead(self, count: int) -> None:
        """Add random filters that nothing reads."""
        self.add(STD * torch.randn(count, self.filters.shape[1], generator=self.draws), torch.zeros(count, self.readers.shape[1]))

    def sums(self) -> None:
        """Add ReLU(u), ReLU(-u), ReLU(v), ReLU(-v), ReLU(u + v), ReLU(-u - v), whose alternating sum is 0; each is read independently."""
        u, v = STD * torch.randn(2, self.filters.shape[1], generator=self.draws)
        readers = STD * self.readers.std() * torch.randn(6, self.readers.shape[1], generator=self.draws)
        self.add(torch.stack([u, -u, v, -v, u + v, -(u + v)]), readers)


def _duplicates(between: Between) -> None:
    between.copies(5)
    between.dead(3)


def _both(between: Between) -> None:
    between.copies(3)
    between.dead(3)
    between.sums()


PLANTS: Mapping[str, Callable[[Between], None]] = {
    "duplicates and dead": _duplicates,
    "scaled copies": lambda between: between.copies(5, lambda k: (1 + k) / 2),
    "linear dependence": lambda between: between.sums(),
    "both kinds": _both,
    "near-duplicates, 0.1 %": lambda between: between.copies(5, noise=1e-3),
    "near-duplicates, 1 %": lambda between: between.copies(5, noise=1e-2),
}
"""What is planted: five duplicates of the first filters that share their outgoing weights and three filters that nothing reads; five
multiples; six filters with one linear dependence between their maps; three duplicates, three dead ones and those six; five noisy
copies."""


@torch.no_grad()
def planted(network: nn.Module, plant: str, *, seed: int = 0) -> nn.Module:
    """Return a copy of ``network``, on the CPU, with the channels of ``PLANTS[plant]`` behind its first convolution.

    Raises:
        UserError: its first two layers are not ordinary convolutions, the first with a bias.

    """
    result = copy.deepcopy(network).cpu()
    layers = [layer for layer in result.modules() if any(True for _ in layer.parameters(recurse=False))]
    first, second = layers[0], layers[1]
    if type(first) is not nn.Conv2d or type(second) is not nn.Conv2d or first.bias is None:
        raise UserError("channels are planted between two convolutions without a norm: give a network with norm.kind none")
    count, shape, outputs = first.out_channels, first.weight.shape[1:], second.weight.transpose(0, 1)
    filters = torch.cat([first.weight.flatten(1), first.bias[:, None]], 1)
    between = Between(filters, outputs.flatten(1).clone(), torch.Generator().manual_seed(seed))
    PLANTS[plant](between)
    total = len(between.filters)
    first.weight = nn.Parameter(between.filters[:, :-1].reshape(-1, *shape).clone())
    first.bias = nn.Parameter(between.filters[:, -1].clone())
    second.weight = nn.Parameter(between.readers.reshape(-1, *outputs.shape[1:]).transpose(0, 1).clone())
    first.out_channels = second.in_channels = total
    assert total > count
    return result
