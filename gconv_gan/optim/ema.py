"""Exponential moving average of a generator, counted in images.

Half-life and ramp as in StyleGAN2-ADA's and EDM2's training loops. Parameters and floating buffers (BatchNorm's running statistics)
are averaged with the same decay, since statistics of other weights change the scores; counters and settings (a gate's
temperature: buffers of one number) are copied. A spectrally normalised average has its own power iterations: an average of
singular vectors is not a unit vector, nor a singular vector of the averaged weight.
"""

import copy

import torch
from torch import Tensor, nn

from gconv_gan.layers.spectral_norm import PowerIterations, is_power_vector


def decay(half_life_images: int, batch_images: int, *, images_seen: int, ramp: float | None) -> float:
    r"""Return :math:`\beta = 0.5^{\,\text{batch} / h}` with :math:`h = \min(\text{half life}, \text{ramp} \cdot \text{images seen})`."""
    half_life = float(half_life_images) if ramp is None else min(half_life_images, ramp * images_seen)
    return 0.5 ** (batch_images / half_life) if half_life > 0 else 0.0


def matched(average: nn.Module, network: nn.Module) -> dict[str, tuple[Tensor, Tensor]]:
    """Return pairs of tensors of the average and of its network by name, vectors of power iterations left out."""
    theirs = network.state_dict()
    return {name: (ours, theirs[name]) for name, ours in average.state_dict().items() if not is_power_vector(name)}


class Ema:
    r"""The average :math:`\bar\theta \leftarrow (1 - w) \bar\theta + w\,\theta` of a network's tensors.

    Args:
        network: the averaged network; its tensors must keep their addresses.
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
        settings = {name for name, buffer in network.named_buffers() if buffer.ndim == 0}
        averaged: list[tuple[Tensor, Tensor]] = []
        copied: list[tuple[Tensor, Tensor]] = []
        for name, pair in matched(self.network, network).items():
            (averaged if pair[0].is_floating_point() and name not in settings else copied).append(pair)
        self._averaged, self._copied = _columns(averaged), _columns(copied)

    def weight(self, *, batch_images: int, images_seen: int) -> float:
        """Return w of the step that consumed ``batch_images`` images and ended at ``images_seen``."""
        if images_seen < self.start_images:
            return 1.0
        return 1 - decay(self.half_life_images, batch_images, images_seen=images_seen, ramp=self.ramp)

    @torch.no_grad()
    def update(self, weight: Tensor) -> None:
        """Update the average with the network's tensors and the weight ``weight`` [], w."""
        ours, theirs = self._averaged
        if ours:
            # (a - b)(1 - w) + b: _foreach_lerp_ reads a weight that is one number on the host, and in a (1 - w) + b w the factors,
            # rounded to float32, do not sum to 1 and scale the average by up to 3e-8 / w
            torch._foreach_sub_(ours, theirs)
            torch._foreach_mul_(ours, 1 - weight)
            torch._foreach_add_(ours, theirs)
        if self._copied[0]:
            torch._foreach_copy_(*self._copied)
        self._power_iterations.advance()


def _columns(pairs: list[tuple[Tensor, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    return [ours for ours, _ in pairs], [theirs for _, theirs in pairs]
