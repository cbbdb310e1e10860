"""A mapping network in front of any generator: layers are selected and modulated by w = f(z, y) instead of z.

Karras, Laine, Aila, "A Style-Based Generator Architecture for Generative Adversarial Networks", arXiv 1812.04948 (2019), sections 2
and 3.2; truncation towards the mean w: appendix B. Normalisation, gains, learning-rate multiplier, the class embedding and the decay of
the mean were checked against NVlabs/stylegan3's ``networks_stylegan2.py`` and stylegan2-ada-pytorch.
"""

import copy
import math
from collections.abc import Mapping

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float, Int
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from gconv_gan.layers.norms.joined_batches import batches_of
from gconv_gan.layers.norms.running_statistics import several_processes
from gconv_gan.layers.slicing import Axis, Constant, Sliceable
from gconv_gan.models.gan.blocks import check_labels

SLOPE = 0.2
MEAN_DECAY = 0.995  # StyleGAN2-ADA's w_avg_beta


def unit_second_moment(x: Float[Tensor, "b d"], eps: float = 1e-8) -> Float[Tensor, "b d"]:
    r"""Return :math:`x / \sqrt{\mathrm{mean}(x^2) + \varepsilon}` row by row."""
    return x * (x.square().mean(1, keepdim=True) + eps).rsqrt()


class MappingLayer(nn.Linear):
    r"""A linear layer with leaky ReLU whose parameters are stored divided by a learning-rate multiplier, which reduces Adam's steps.

    .. math:: y = \sqrt 2\, \mathrm{LReLU}\big(\lambda\, (W x / \sqrt{d} + b)\big)

    with the entries of W drawn from N(0, 1/λ²) and b = 0. Input [B, d], result [B, o].

    Args:
        lr_multiplier: λ.

    """

    def __init__(self, in_features: int, out_features: int, *, lr_multiplier: float) -> None:
        super().__init__(in_features, out_features)
        self.lr_multiplier = lr_multiplier
        nn.init.normal_(self.weight, std=1 / lr_multiplier)
        nn.init.zeros_(self.bias)

    def forward(self, x: Float[Tensor, "b d"]) -> Float[Tensor, "b o"]:
        y = F.linear(x, self.weight * (self.lr_multiplier / math.sqrt(self.in_features)), self.bias * self.lr_multiplier)
        return math.sqrt(2) * F.leaky_relu(y, SLOPE)


class MappingNetwork(Sliceable, nn.Module):
    """StyleGAN2's mapping network: layers are selected and modulated by w = f(z, y).

    z [B, latent_dim] and, if conditional, y [B] -> w [B, width]: z and, with classes, an embedding of y are
    normalised to unit second moment, joined, and passed through ``depth`` layers.

    Args:
        latent_dim: dimension of z.
        num_classes: embed this many classes; None: unconditional.
        depth: Layers (StyleGAN2: 8; its CIFAR-10 preset: 2).
        width: Dimension of w and of every hidden layer.
        lr_multiplier: Learning-rate multiplier: parameters are stored divided by it, which reduces their updates by this factor.

    """

    def __init__(
        self,
        *,
        latent_dim: int,
        num_classes: int | None = None,
        depth: PositiveInt = 8,
        width: PositiveInt = 512,
        lr_multiplier: PositiveFloat = 0.01,
    ) -> None:
        super().__init__()
        self.embedding = None if num_classes is None else nn.Embedding(num_classes, width)
        sizes = [latent_dim + (0 if num_classes is None else width)] + [width] * depth
        self.layers = nn.ModuleList(MappingLayer(i, o, lr_multiplier=lr_multiplier) for i, o in zip(sizes[:-1], sizes[1:], strict=True))

    def sizes(self) -> Mapping[Axis, int]:
        """See ``Sliceable``: w is the condition of other layers, and none of its components is a channel."""
        return {}

    def stand_in(self) -> nn.Module:
        """See ``Sliceable``."""
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        return Constant(last.out_features)

    def forward(self, z: Float[Tensor, "b d"], y: Int[Tensor, " b"] | None = None) -> Float[Tensor, "b w"]:
        with torch.autocast(z.device.type, enabled=False):
            h = unit_second_moment(z)
            if self.embedding is not None:
                h = torch.cat([h, unit_second_moment(self.embedding(y))], 1)
            for layer in self.layers:
                h = layer(h)
        return h


class MappedGenerator(nn.Module):
    r"""A generator G behind a mapping network f, with truncation of w towards its mean.

    .. math:: x = G(\bar w + \psi\,(w - \bar w),\; y), \qquad w = f(z, y), \qquad
        \bar w \leftarrow \beta\, \bar w + (1 - \beta)\, \mathrm{mean}_b\, w_b

    The mean is a buffer, updated in training mode with the batch of all processes and β = 0.995. ψ is 1 unless :meth:`truncated`.

    Args:
        mapping: f.
        synthesis: G, whose latent_dim is the length of w.
        latent_dim: dimension of z.

    Raises:
        ValueError: in ``forward`` for a missing or unwanted y.

    """

    w_mean: Tensor

    def __init__(self, mapping: MappingNetwork, synthesis: nn.Module, *, latent_dim: int) -> None:
        super().__init__()
        self.mapping, self.synthesis, self.latent_dim, self.psi = mapping, synthesis, latent_dim, 1.0
        self.image_size, self.num_classes, self.channels = synthesis.image_size, synthesis.num_classes, synthesis.channels
        assert isinstance(synthesis.latent_dim, int)
        self.register_buffer("w_mean", torch.zeros(synthesis.latent_dim))

    def forward(self, z: Float[Tensor, "b d"], y: Int[Tensor, " b"] | None = None) -> Float[Tensor, "b 3 s s"]:
        """Return images [B, 3, s, s] of latent vectors z [B, d] and, if conditional, classes y [B]."""
        assert self.num_classes is None or isinstance(self.num_classes, int)
        check_labels(y, self.num_classes, "generator")
        w = self.mapping(z, y)
        if self.training:
            for batch in batches_of(w.detach()):
                self._track(batch)
        if self.psi != 1.0:
            w = self.w_mean.lerp(w, self.psi)
        images: Tensor = self.synthesis(w, y)
        return images

    @torch.no_grad()
    def _track(self, w: Float[Tensor, "b w"]) -> None:
        totals = torch.cat([w.sum(0), w.new_full((1,), len(w))])
        if several_processes():
            dist.all_reduce(totals)
        self.w_mean.lerp_((totals[:-1] / totals[-1]).to(self.w_mean.dtype), 1 - MEAN_DECAY)

    def truncated(self, psi: float) -> "MappedGenerator":
        """Return this generator, sharing every weight, at another ψ: 1 is the whole distribution, 0 the mean image."""
        twin = copy.copy(self)
        twin.psi = psi
        return twin
