"""DCGAN's generator and discriminator, 8 to 128 px, unconditional or class-conditional.

Radford, Metz, Chintala, "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks",
arXiv 1511.06434 (2016), section 3. Kernels of side 4, widths, initialisation and parameter counts are those of the "dcgan" example in
pytorch/examples; here every convolution keeps its bias. Other sizes continue its pattern: the width doubles as the side halves.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from pydantic import PositiveInt
from torch import Tensor, nn

from gconv_gan.config.schema import give
from gconv_gan.layers.activations import LEAKY_RELU
from gconv_gan.layers.blocks.block_parts import Activation, BlockNorm, Conv, DiscriminatorConv, Norm
from gconv_gan.layers.conditioning import Condition, apply
from gconv_gan.layers.initialisers import normal_
from gconv_gan.layers.norms.batch_norm import BatchNorm2d
from gconv_gan.layers.norms.batch_norm_init import start_batch_norms
from gconv_gan.layers.norms.conditioned_norms import conditioned, generator_batch_norm
from gconv_gan.layers.norms.rectified import activated
from gconv_gan.layers.resample import ResampledConv2d
from gconv_gan.models.gan.blocks import (
    BASE,
    AttentionAfter,
    ProjectionDiscriminator,
    check_labels,
    check_size,
    divided,
    first_map,
    to_rgb,
)

SIZES = (8, 16, 32, 64, 128)


def widths(width: int, image_size: int, network: str) -> list[int]:
    """Return the channels of the maps of side 4, 8, ..., image_size/2: ``width``, and half as many at each doubling."""
    check_size(image_size, SIZES)
    doublings = (image_size // BASE).bit_length() - 1
    return divided(width, [1 << level for level in range(doublings)], image_size, network)


class DCGANGenerator(nn.Module):
    r"""The DCGAN generator: transposed 4×4 convolutions.

    z [B, latent_dim] and, if conditional, y [B] -> images [B, 3, image_size, image_size] in (−1, 1).

    .. math:: h_0 = \phi(n_0(L z)), \qquad h_{l+1} = \phi(n_{l+1}(T_{l+1} * h_l)), \qquad x = \tanh(T * h_L)

    with transposed 4×4 convolutions T of stride 2.

    Args:
        image_size: 8, 16, 32, 64 or 128.
        num_classes: condition on this many classes through ``norm``; None: unconditional.
        width: Channels of the first, widest feature map (the paper: 1024; pytorch/examples: 512, both at 64 px).
        latent_dim: Dimension of z; of w behind a mapping network.
        conv: All its convolutions but the last.
        conv_to_rgb: Use conv for the output convolutions too (stylegan2, gigagan: one kernel, no demodulation).
        norm: The norms between its layers.
        activation: The activation after every norm (phi).
        attention: Resolutions of maps with self-attention, 4, 8, ..., half the image's; DCGAN has none.

    Raises:
        ValueError: for another size, a width that the halvings do not divide, a resolution without a map, or a missing or unwanted y.

    """

    def __init__(
        self,
        *,
        image_size: int,
        num_classes: int | None = None,
        width: PositiveInt,
        latent_dim: PositiveInt = 100,
        conv: Conv = ResampledConv2d,
        conv_to_rgb: bool = False,
        norm: Norm = generator_batch_norm,
        activation: Activation = nn.ReLU,
        attention: Sequence[PositiveInt] = (),
    ) -> None:
        super().__init__()
        self.activation = activation()
        self.channels = channels = widths(width, image_size, "generator")
        self.image_size, self.latent_dim, self.num_classes = image_size, latent_dim, num_classes
        self.linear = nn.Linear(latent_dim, channels[0] * BASE**2)
        known: dict[str, Any] = {"latent_dim": latent_dim, "num_classes": num_classes}
        conv, rgb_conv = give(conv, **known), to_rgb(conv, **known) if conv_to_rgb else ResampledConv2d
        self.convs = nn.ModuleList(
            conv(i, o, 4, padding=1, resample="transposed") for i, o in zip(channels[:-1], channels[1:], strict=True)
        )
        self.norms = nn.ModuleList(conditioned(norm, **known)(count) for count in channels)
        self.to_rgb = rgb_conv(channels[-1], 3, 4, padding=1, resample="transposed")
        for layer in (self.linear, *self.convs, self.to_rgb):
            normal_(layer)
        scatter_scales(self)
        self.attention = AttentionAfter(attention, sides=[BASE << index for index in range(len(channels))], channels=channels)
        start_batch_norms(self, norm)

    def forward(self, z: Float[Tensor, "b d"], y: Int[Tensor, " b"] | None = None) -> Float[Tensor, "b 3 s s"]:
        check_labels(y, self.num_classes, "generator")
        condition = Condition(z, y)
        h = self.attention(0, activated(self.norms[0], self.activation, first_map(self.linear, z), condition))
        for index, (conv, norm) in enumerate(zip(self.convs, self.norms[1:], strict=True), start=1):
            h = self.attention(index, activated(norm, self.activation, apply(conv, h, condition), condition))
        return torch.tanh(apply(self.to_rgb, h, condition))


class DCGANDiscriminator(ProjectionDiscriminator):
    r"""The DCGAN discriminator: strided 4×4 convolutions.

    images [B, 3, image_size, image_size] in [−1, 1] and, if conditional, y [B] -> logits [B].

    .. math:: h_0 = \phi(C_0 * x), \qquad h_{l+1} = \phi(n_{l+1}(C_{l+1} * h_l)), \qquad
        D = w \cdot h_L + b + \langle e_y, h_L \rangle

    with 4×4 convolutions C of stride 2 down to a 4×4 map, which is flattened: w is DCGAN's last convolution. The projection on the
    class (arXiv 1802.05637) is an addition. Spectral normalisation is applied from outside, see ``models/factory.py``.

    Args:
        image_size: 8, 16, 32, 64 or 128.
        num_classes: projection onto this many classes; None: unconditional.
        width: Channels of the last, widest feature map (pytorch/examples: 512 at 64 px).
        conv: Every convolution except the first, that of the images.
        block_norm: Norms after every convolution but the first. DCGAN as published has "batch", with norm.kind = "none"; each batch, real
            and generated, is normalised alone, as with every norm that couples the images of a batch.
        activation: The activation after every convolution (phi).
        attention: Resolutions of maps with self-attention, half the image's, ..., 8, 4; DCGAN has none.

    Raises:
        ValueError: for another size, a width that the halvings do not divide, a resolution without a map, or a missing or unwanted y.

    """

    def __init__(
        self,
        *,
        image_size: int,
        num_classes: int | None = None,
        width: PositiveInt,
        conv: DiscriminatorConv = ResampledConv2d,
        block_norm: BlockNorm = nn.Identity,
        activation: Activation = LEAKY_RELU,
        attention: Sequence[PositiveInt] = (),
    ) -> None:
        super().__init__(image_size=image_size, num_classes=num_classes)
        self.activation = activation()
        self.channels = channels = widths(width, image_size, "discriminator")[::-1]
        self.convs = nn.ModuleList([ResampledConv2d(3, channels[0], 4, stride=2, padding=1)])
        self.convs.extend(conv(i, o, 4, stride=2, padding=1) for i, o in zip(channels[:-1], channels[1:], strict=True))
        self.norms = nn.ModuleList([nn.Identity(), *(block_norm(count) for count in channels[1:])])
        self.add_head(channels[-1] * BASE**2)
        for layer in (*self.convs, self.linear):
            normal_(layer)
        scatter_scales(self)
        sides = [image_size >> index for index in range(1, 1 + len(channels))]
        self.attention = AttentionAfter(attention, sides=sides, channels=channels)
        start_batch_norms(self, block_norm)

    def stages(self) -> list[tuple[nn.Module, ...]]:
        """Return each convolution with its norm."""
        return list(zip(self.convs, self.norms, strict=True))

    def features(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b f"]:
        h = images
        for index, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            h = self.attention(index, activated(norm, self.activation, conv(h)))
        return h.flatten(1)


def scatter_scales(network: nn.Module) -> None:
    """Draw the scales of unconditional BatchNorms from N(1, 0.02²), as DCGAN does."""
    for module in network.modules():
        if isinstance(module, BatchNorm2d) and module.affine:
            nn.init.normal_(module.weight, 1.0, 0.02)
