"""Exponential moving average of a generator, counted in images.

Half-life and ramp as in StyleGAN2-ADA's and EDM2's training loops. Parameters and floating buffers (BatchNorm's running statistics)
are averaged with the same decay, since statistics of other weights change the scores; counters and settings (a gate's
temperature: buffers of one number) are copied. A spectrally normalised average has its own power iterations: an average of
singular vectors is not a unit vector, nor a singular vector of the averaged weight.
"""

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gconv_gan.layers.lipschitz.spectral_norm import PowerIterations, is_power_vector


def decay(half_life_images: int, batch_images: int, *, images_seen: int, ramp: float | None) -> float:
    r"""Return :math:`\beta = 0.5^{\,\text{batch} / h}` with :math:`h = \min(\text{half life}, \text{ramp} \cdot \text{images seen})`."""
    half_life = float(half_life_images) if ramp is None else min(half_life_images, ramp * images_seen)
    return 0.5 ** (batch_images / half_life) if half_life > 0 else 0.0


class _Pairs(NamedTuple):
    """Tensors of an average and of its network, pair by pair: those that are averaged, and those that are copied."""

    averages: list[Tensor]
    current: list[Tensor]
    copies: list[Tensor]
    originals: list[Tensor]

    @classmethod
    def of(cls, average: nn.Module, network: nn.Module) -> "_Pairs":
        """Pair all tensors but the vectors of power iterations."""
        settings = {name for name, buffer in network.named_buffers() if buffer.ndim == 0}
        pairs = cls([], [], [], [])
        theirs = network.state_dict()
        for name, ours in average.state_dict().items():
            if not is_power_vector(name):
                averaged = ours.is_floating_point() and name not in settings
                (pairs.averages if averaged else pairs.copies).append(ours)
                (pairs.current if averaged else pairs.originals).append(theirs[name])
        return pairs


class Ema:
    r"""The average :math:`\bar\theta \leftarrow (1 - w) \bar\theta + w\,\theta` of a network's tensors.

    Args:
        network: the network that is followed. Its tensors and the average's are paired by the first ``update``; whoever replaces a tensor
            (``.to(device)``, ``parameter.data = …``, Accelerate's ``prepare`` of several processes) does so before, or calls
            ``pair_again``.
        half_life_images: images after which the factor of an old weight is halved.
        ramp: hold the half-life at most at ramp · images seen; None: no ramp.
        start_images: until so many images have been seen, the average is the network.

    Attributes:
        network: the averaged copy, in eval mode and without gradients.

    """

    def __init__(self, network: nn.Module, *, half_life_images: int, ramp: float | None = None, start_images: int = 0) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.half_life_images, self.ramp, self.start_images = half_life_images, ramp, start_images
        self._power_iterations = PowerIterations(self.network)
        self._source = network
        self._pairs: _Pairs | None = None

    def weight(self, *, batch_images: int, images_seen: int) -> float:
        """Return w of the step that consumed ``batch_images`` images and ended at ``images_seen``."""
        if images_seen < self.start_images:
            return 1.0
        return 1 - decay(self.half_life_images, batch_images, images_seen=images_seen, ramp=self.ramp)

    def pair_again(self) -> None:
        """Let the next ``update`` pair the tensors anew, because some were replaced."""
        self._pairs = None

    @torch.no_grad()
    def update(self, weight: Tensor) -> None:
        """Move the average towards the network by ``weight`` [], w."""
        if self._pairs is None:
            self._pairs = _Pairs.of(self.network, self._source)
        ours, theirs, copies, originals = self._pairs
        if ours:
            # (a - b)(1 - w) + b: _foreach_lerp_ reads a weight that is one number on the host, and in a (1 - w) + b w the factors,
            # rounded to float32, do not sum to 1 and scale the average by up to 3e-8 / w
            torch._foreach_sub_(ours, theirs)
            torch._foreach_mul_(ours, 1 - weight)
            torch._foreach_add_(ours, theirs)
        if copies:
            torch._foreach_copy_(copies, originals)
        self._power_iterations.advance()
