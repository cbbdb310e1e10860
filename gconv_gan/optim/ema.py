"""Exponential moving average of a generator, counted in images.

Half-life and ramp as in StyleGAN2-ADA's and EDM2's training loops. Parameters and floating buffers (BatchNorm's running statistics)
are averaged with the same decay, since statistics that belong to other weights shift the scores; counters and settings (a gate's
temperature: buffers of one number) are copied. A spectrally normalised average keeps power iterations of its own: an averaged
vector is shorter than one, and would belong to no weight.
"""

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gconv_gan.layers.spectral_norm import PowerIterations, is_power_vector


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
    r"""The average :math:`\bar\theta \leftarrow \beta \bar\theta + (1 - \beta)\theta` of a network's tensors.

    Its tensors and the network's are paired by the first ``begin``. Both are changed in place from then on, as ``load_state_dict``
    does; whoever replaces a tensor (``.to(device)``, ``parameter.data = …``, Accelerate's ``prepare``) does so before.

    Args:
        source: the network, on its device.
        half_life_images: after so many images, what was known before weighs half.
        ramp: the half-life is at most this part of the images seen; None: always ``half_life_images``.
        start_images: until so many images were seen, the average is the network itself.

    Attributes:
        network: the averaged copy, in eval mode and without gradients.

    """

    def __init__(self, source: nn.Module, *, half_life_images: int, ramp: float | None = None, start_images: int = 0) -> None:
        self.network = copy.deepcopy(source).eval().requires_grad_(False)
        self.half_life_images, self.ramp, self.start_images = half_life_images, ramp, start_images
        self._power_iterations = PowerIterations(self.network)
        self._source = source
        self._pairs: _Pairs | None = None
        self._new_share = torch.ones((), device=next(source.parameters()).device)

    def begin(self, *, batch_images: int, images_seen: int) -> None:
        """Set 1 - β for an iteration that consumes ``batch_images`` images and ends at ``images_seen``; outside the iteration."""
        if self._pairs is None:
            self._pairs = _Pairs.of(self.network, self._source)
        share = 1 - decay(self.half_life_images, batch_images, images_seen=images_seen, ramp=self.ramp)
        self._new_share.fill_(1.0 if images_seen < self.start_images else share)

    @torch.no_grad()
    def update(self, *, running: Tensor | None = None) -> None:
        """Move the average towards the network by 1 - β; not at all where ``running`` (a number on the device) is zero."""
        assert self._pairs is not None, "begin comes first"
        averages, current, copies, originals = self._pairs
        share = self._new_share if running is None else self._new_share * running
        # (a - b) β + b: no _foreach_lerp_, which reads a weight that is a tensor of one number on the host, and no a β + b (1 - β), where
        # the factors, rounded to float32, do not sum to 1 and scale the average by up to 3e-8 / (1 - β)
        torch._foreach_sub_(averages, current)
        torch._foreach_mul_(averages, 1 - share)
        torch._foreach_add_(averages, current)
        if copies:
            torch._foreach_copy_(copies, originals)
        self._power_iterations.advance()
