"""Dropout whose masks are functions of a seed, drawn for the batch of all processes.

Srivastava et al., "Dropout", JMLR 15 (2014).
"""

import torch
from jaxtyping import Shaped
from torch import Tensor, nn


class Dropout(nn.Dropout):
    r"""Zero each element with probability p in training, and scale the others by :math:`1 / (1 - p)`.

    Without a ``seed`` it is ``nn.Dropout``. With one, which the training loop sets anew for every step, it does not touch torch's
    global generator, and every process draws the mask of the whole batch and takes its own slice: one process and two drop the
    same elements. The mask has the shape of the input.

    Attributes:
        seed: of the next mask; None: torch's global generator.
        share: (index of this process, number of processes).

    """

    seed: int | None = None
    share: tuple[int, int] = (0, 1)

    def forward(self, x: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
        if self.seed is None or not self.training or self.p == 0:
            return super().forward(x)
        index, processes = self.share
        # drawn on the CPU: devices have unlike generators
        generator = torch.Generator().manual_seed(self.seed)
        kept = torch.rand(processes * len(x), *x.shape[1:], generator=generator)[index * len(x) : (index + 1) * len(x)] >= self.p
        return x * (kept.to(x.device, x.dtype) / (1 - self.p))
