"""The SNGAN residual generator and discriminator, 8 to 128 px, unconditional or class-conditional.

Miyato, Kataoka, Koyama, Yoshida, "Spectral Normalization for GANs", arXiv 1802.05957 (2018), tables 3 to 6; Miyato and Koyama,
"cGANs with Projection Discriminator", arXiv 1802.05637 (2018). Widths, initialisation and parameter counts were checked against
kwotsin/mimicry; upsampling is nearest, as in pfnet-research/sngan_projection. The 8 and 16 px tables are ours. With ``attention``
they are SAGAN's networks, arXiv 1805.08318 (2019).
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn

from gconv_gan.config.hints import check_choice
from gconv_gan.config.schema import give
from gconv_gan.layers.blocks.block_parts import Activation, BlockNorm, Conv, DiscriminatorConv, Norm, Order
from gconv_gan.layers.conditioning import Condition, apply
from gconv_gan.layers.initialisers import glorot_
from gconv_gan.layers.norms.batch_norm_init import start_batch_norms
from gconv_gan.layers.norms.conditioned_norms import conditioned, generator_batch_norm, unconditioned
from gconv_gan.layers.resample import ResampledConv2d
from gconv_gan.models.gan.blocks import (
    BASE,
    AttentionAfter,
    GeneratorBlock,
    Pooling,
    ResidualDiscriminator,
    block_gain,
    check_labels,
    check_size,
    divided,
    first_map,
    preactivate,
    run_generator_blocks,
    to_rgb,
)

Middle = Literal["thin", "wide"]

# width divisors: of the 4×4 map, then of each upsampling block
GENERATOR_DIVISORS: dict[int, tuple[int, ...]] = {
    8: (1, 1),
    16: (1, 1, 1),
    32: (1, 1, 1, 1),
    64: (1, 2, 4, 8, 16),
    128: (1, 1, 2, 4, 8, 16),
}
# width divisor of each block, and how many of the first blocks halve the resolution
DISCRIMINATOR_BLOCKS: dict[int, tuple[tuple[int, ...], int]] = {
    8: ((1, 1, 1), 1),
    16: ((1, 1, 1), 2),
    32: ((1, 1, 1, 1), 2),
    64: ((16, 8, 4, 2, 1), 5),
    128: ((16, 8, 4, 2, 1, 1), 5),
}


class ResNetGenerator(nn.Module):
    """The SNGAN residual generator.

    z [B, latent_dim] and, if conditional, y [B] -> images [B, 3, image_size, image_size] in (−1, 1): linear to a
    4×4 map, one ``GeneratorBlock`` per doubling, norm, activation, 3×3 convolution, tanh.

    Args:
        image_size: 8, 16, 32, 64 or 128.
        num_classes: condition on this many classes; None: unconditional.
        width: Channels of the first, widest feature map (SNGAN: 256 at 32 px, 1024 at 64 and 128 px).
        latent_dim: Dimension of z; of w behind a mapping network.
        block_latent: The last so many numbers of z condition the blocks (gates, modulations) alone and the others make the first map
            alone: a control for layers selected by the latent vector. 0: all of z does both.
        conv: The convolutions of its blocks.
        conv_to_rgb: Use conv for the output convolutions too (stylegan2, gigagan: one kernel, no demodulation).
        conv_in_shortcuts: Use conv for the 1×1 shortcuts too.
        norm: The norms of its blocks; the last norm of the network does not depend on the class.
        activation: The activation of its blocks, whose gain scales the initial weights (√2 for relu and leaky_relu).
        attention: Resolutions with self-attention (mimicry's SAGAN: 16 at 32 px, 32 at 128 px).
        order: Norm, activation, convolution; or activation, norm, convolution: the whitening unit.

    Raises:
        ValueError: for a size without a table, a width its divisors do not divide, a resolution without a block, a ``block_latent``
            that leaves nothing of z, or a missing or unwanted y.

    """

    def __init__(
        self,
        *,
        image_size: int,
        num_classes: int | None = None,
        width: PositiveInt,
        latent_dim: PositiveInt = 128,
        block_latent: NonNegativeInt = 0,
        conv: Conv = ResampledConv2d,
        conv_to_rgb: bool = False,
        conv_in_shortcuts: bool = False,
        norm: Norm = generator_batch_norm,
        activation: Activation = nn.ReLU,
        attention: Sequence[PositiveInt] = (),
        order: Order = "standard",
    ) -> None:
        super().__init__()
        check_size(image_size, GENERATOR_DIVISORS)
        self.image_size, self.latent_dim, self.num_classes = image_size, latent_dim, num_classes
        self.channels = channels = divided(width, GENERATOR_DIVISORS[image_size], image_size, "generator")
        if block_latent >= latent_dim:
            raise ValueError(f"block_latent = {block_latent} leaves nothing of latent_dim = {latent_dim} to the first map")
        self.block_latent = block_latent
        self.linear = nn.Linear(latent_dim - block_latent, channels[0] * BASE**2)
        self.activation, self.order = activation(), order
        known: dict[str, Any] = {"latent_dim": block_latent or latent_dim, "num_classes": num_classes}
        conv, rgb_conv = give(conv, **known), to_rgb(conv, **known) if conv_to_rgb else ResampledConv2d
        block = partial(
            GeneratorBlock,
            conv=conv,
            norm=conditioned(norm, **known),
            shortcut_conv=conv if conv_in_shortcuts else ResampledConv2d,
            activation=activation,
            gain=block_gain(activation),
            order=order,
        )
        self.blocks = nn.ModuleList(block(i, o) for i, o in zip(channels[:-1], channels[1:], strict=True))
        self.last_norm = unconditioned(norm, **known)(channels[-1])
        self.to_rgb = rgb_conv(channels[-1], 3, 3, padding=1, resample="none")
        glorot_(self.linear)
        glorot_(self.to_rgb)
        sides = [2 * BASE << block for block in range(len(self.blocks))]
        self.attention = AttentionAfter(attention, sides=sides, channels=channels[1:])
        start_batch_norms(self, norm)

    def forward(self, z: Float[Tensor, "b d"], y: Int[Tensor, " b"] | None = None) -> Float[Tensor, "b 3 s s"]:
        check_labels(y, self.num_classes, "generator")
        condition = Condition(z, y)
        if self.block_latent:
            z, conditions = z[:, : -self.block_latent], z[:, -self.block_latent :]
            condition = Condition(conditions, y)
        h = run_generator_blocks(self.blocks, self.attention, first_map(self.linear, z), [condition] * len(self.blocks))
        h = preactivate(h, self.last_norm, self.activation, condition, self.order)
        return torch.tanh(apply(self.to_rgb, h, condition))


class ResNetDiscriminator(ResidualDiscriminator):
    r"""The SNGAN residual discriminator.

    images [B, 3, image_size, image_size] in [−1, 1] and, if conditional, y [B] -> logits [B].

    .. math:: D(x, y) = w \cdot h(x) + b + \langle e_y, h(x) \rangle, \qquad h(x) = \sum_{\text{pixels}} \phi(\text{blocks}(x))

    (projection discriminator, equation 4; without classes the last term is absent). Normalisation is applied from outside, see
    ``models/factory.py``.

    Args:
        image_size: 8, 16, 32, 64 or 128.
        num_classes: projection onto this many classes; None: unconditional.
        width: Channels of the last, widest feature map (SNGAN: 128 at 32 px, 1024 at 64 and 128 px).
        conv: The convolutions of its blocks, except those of the images.
        block_norm: Norms between its layers. All but "group" let an image's logit depend on the other images of its batch: real and
            generated images then pass through the discriminator separately, as in DCGAN, and a gradient penalty is an error.
        activation: The activation of its blocks (phi), whose gain scales the initial weights (√2 for relu and leaky_relu).
        attention: Resolutions with self-attention (mimicry's SAGAN: 8 at 32 px, 32 at 128 px).
        middle: Width between a block's two convolutions: its input's (SNGAN, mimicry) or its output's (StudioGAN).
        shortcut_preact: Rectify the shortcut's input, as mimicry's and StudioGAN's in-place ReLU does.
        pooling: Sum over the pixels of the last map, or their mean (WGAN-GP, arXiv 1704.00028).

    Raises:
        ValueError: for a size without a table, a width its divisors do not divide, a resolution without a block, or a missing or
            unwanted y.

    """

    def __init__(
        self,
        *,
        image_size: int,
        num_classes: int | None = None,
        width: PositiveInt,
        conv: DiscriminatorConv = ResampledConv2d,
        block_norm: BlockNorm = nn.Identity,
        activation: Activation = nn.ReLU,
        attention: Sequence[PositiveInt] = (),
        middle: Middle = "thin",
        shortcut_preact: bool = False,
        pooling: Pooling = "sum",
    ) -> None:
        check_choice("middle", middle, Middle)
        check_size(image_size, DISCRIMINATOR_BLOCKS)
        divisors, num_down = DISCRIMINATOR_BLOCKS[image_size]
        super().__init__(
            image_size=image_size,
            num_classes=num_classes,
            channels=divided(width, divisors, image_size, "discriminator"),
            num_down=num_down,
            wide=middle == "wide",
            shortcut_preact=shortcut_preact,
            attention=attention,
            conv=conv,
            norm=block_norm,
            activation=activation,
            gain=block_gain(activation),
            pooling=pooling,
        )
        start_batch_norms(self, block_norm)
