"""Exponential moving average of a generator, counted in images.

Half-life and ramp as in StyleGAN2-ADA's and EDM2's training loops. Parameters and floating buffers (BatchNorm's running statistics)
are averaged with the same decay, since statistics that belong to other weights shift the scores; counters and settings (a gate's
temperature: buffers of one number) are copied. A spectrally normalised average keeps power iterations of its own: an averaged
vector is shorter than one, and would belong to no weight.
"""

import copy

import torch
from torch import Tensor, nn

from gconv_gan.layers.spectral_norm import PowerIterations, is_power_vector


def decay(half_life_images: int, batch_images: int, *, images_seen: int, ramp: float | None) -> float:
    r"""Return :math:`\beta = 0.5^{\,\text{batch} / h}` with :math:`h = \min(\text{half life}, \text{ramp} \cdot \text{images seen})`."""
    half_life = float(half_life_images) if ramp is None else min(half_life_images, ramp * images_seen)
    return 0.5 ** (batch_images / half_life) if half_life > 0 else 0.0


def matched(target: nn.Module, source: nn.Module) -> dict[str, tuple[Tensor, Tensor]]:
    """Return pairs of the two networks' tensors by name, vectors of power iterations left out.

    Raises:
        ValueError: their names differ.

    """
    ours, theirs = target.state_dict(), source.state_dict()
    if ours.keys() != theirs.keys():
        raise ValueError(f"the average and the network hold different tensors: {sorted(ours.keys() ^ theirs.keys())}")
    return {name: (ours[name], theirs[name]) for name in ours if not is_power_vector(name)}


class Ema:
    r"""The average :math:`\bar\theta \leftarrow \beta \bar\theta + (1 - \beta)\theta` of a network's tensors.

    Attributes:
        network: the averaged copy, in eval mode and without gradients.

    """

    def __init__(self, network: nn.Module, *, half_life_images: int, ramp: float | None = None, start_images: int = 0) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self._power_iterations = PowerIterations(self.network)
        self.half_life_images, self.ramp, self.start_images = half_life_images, ramp, start_images

    @torch.no_grad()
    def update(self, network: nn.Module, *, batch_images: int, images_seen: int) -> None:
        """Move the average towards ``network`` after a step that consumed ``batch_images`` images; to it, before ``start_images``."""
        weight = 1 - decay(self.half_life_images, batch_images, images_seen=images_seen, ramp=self.ramp)
        if images_seen < self.start_images:
            weight = 1.0
        settings = {name for name, buffer in network.named_buffers() if buffer.ndim == 0}
        averages, current = [], []
        for name, (ours, theirs) in matched(self.network, network).items():
            if ours.is_floating_point() and name not in settings:
                averages.append(ours)
                current.append(theirs)
            else:
                ours.copy_(theirs)
        torch._foreach_lerp_(averages, current, weight)
        self._power_iterations.advance()
