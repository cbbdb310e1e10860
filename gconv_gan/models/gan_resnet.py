"""The SNGAN residual generator and discriminator, 8 to 128 px, unconditional or class-conditional.

Miyato, Kataoka, Koyama, Yoshida, "Spectral Normalization for GANs", arXiv 1802.05957 (2018), tables 3 to 6; Miyato and Koyama,
"cGANs with Projection Discriminator", arXiv 1802.05637 (2018). Widths, initialisation and parameter counts were checked against
kwotsin/mimicry; upsampling is nearest, as in pfnet-research/sngan_projection. The 8 and 16 px tables are ours. With ``attention``
they are SAGAN's networks, arXiv 1805.08318 (2019).
"""

from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gconv_gan.config.hints import check_choice
from gconv_gan.layers.batch_norm import BatchNorm2d
from gconv_gan.layers.conditioning import Condition, apply
from gconv_gan.layers.initialisers import BLOCK_GAIN, glorot_
from gconv_gan.layers.parts import ActivationConstructor, Order
from gconv_gan.layers.resample import ResampledConv2d
from gconv_gan.models.gan_blocks import (
    BASE,
    AttentionAfter,
    ConvConstructor,
    GeneratorBlock,
    NormConstructor,
    Pooling,
    ResidualDiscriminator,
    check_labels,
    check_size,
    divided,
    first_map,
    preactivate,
    run_generator_blocks,
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
    """z [B, latent_dim] and, if conditional, y [B] -> images [B, 3, image_size, image_size] in (−1, 1).

    Linear to a 4×4 map, one ``GeneratorBlock`` per doubling, norm, activation, 3×3 convolution, tanh.

    Args:
        image_size: 8, 16, 32, 64 or 128.
        width: channels of the 4×4 map (SNGAN: 256 at 32 px, 1024 at 64 and 128 px).
        latent_dim: dimension of z.
        block_latent: the last so many numbers of z condition the blocks (gates, modulations) and nothing else, and the others make the
            first map alone: a control for layers that are selected by the latent vector. 0: all of z does both.
        num_classes: condition on this many classes; None: unconditional.
        attention: resolutions with self-attention (mimicry's SAGAN: 16 at 32 px, 32 at 128 px).
        conv: constructor of the blocks' 3×3 convolutions; ``ResampledConv2d``, or ``GConv2d`` with its latent_dim bound.
        shortcut_conv, rgb_conv: constructors of the blocks' 1×1 shortcuts and of the last convolution.
        norm: constructor of the blocks' norms from a channel count.
        last_norm: constructor of the norm before the last convolution.
        activation, gain, order: as in ``GeneratorBlock``.

    Raises:
        ValueError: for a size without a table, a width its divisors do not divide, a resolution without a block, a ``block_latent``
            that leaves nothing of z, or a missing or unwanted y.

    """

    def __init__(
        self,
        *,
        image_size: int,
        width: int,
        latent_dim: int = 128,
        block_latent: int = 0,
        num_classes: int | None = None,
        attention: Sequence[int] = (),
        conv: ConvConstructor = ResampledConv2d,
        shortcut_conv: ConvConstructor = ResampledConv2d,
        rgb_conv: ConvConstructor = ResampledConv2d,
        norm: NormConstructor = BatchNorm2d,
        last_norm: NormConstructor = BatchNorm2d,
        activation: ActivationConstructor = nn.ReLU,
        gain: float = BLOCK_GAIN,
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
        block = partial(GeneratorBlock, conv=conv, norm=norm, shortcut_conv=shortcut_conv, activation=activation, gain=gain, order=order)
        self.blocks = nn.ModuleList(block(i, o) for i, o in zip(channels[:-1], channels[1:], strict=True))
        self.last_norm = last_norm(channels[-1])
        self.to_rgb = rgb_conv(channels[-1], 3, 3, padding=1, resample="none")
        glorot_(self.linear)
        glorot_(self.to_rgb)
        sides = [2 * BASE << block for block in range(len(self.blocks))]
        self.attention = AttentionAfter(attention, sides=sides, channels=channels[1:])

    def forward(self, z: Float[Tensor, "b d"], y: Int[Tensor, " b"] | None = None) -> Float[Tensor, "b 3 s s"]:
        check_labels(y, self.num_classes, "generator")
        condition = Condition(z, y)
        if self.block_latent:
            z, blocks = z[:, : -self.block_latent], z[:, -self.block_latent :]
            condition = Condition(blocks, y)
        h = run_generator_blocks(self.blocks, self.attention, first_map(self.linear, z), [condition] * len(self.blocks))
        h = preactivate(h, self.last_norm, self.activation, condition, self.order)
        return torch.tanh(apply(self.to_rgb, h, condition))


class ResNetDiscriminator(ResidualDiscriminator):
    r"""images [B, 3, image_size, image_size] in [−1, 1] and, if conditional, y [B] -> logits [B].

    .. math:: D(x, y) = w \cdot h(x) + b + \langle e_y, h(x) \rangle, \qquad h(x) = \sum_{\text{pixels}} \phi(\text{blocks}(x))

    (projection discriminator, equation 4; without classes the last term is absent). Normalisation is applied from outside, see
    ``models/factory.py``.

    Args:
        image_size: 8, 16, 32, 64 or 128.
        width: channels of the last map (SNGAN: 128 at 32 px, 1024 at 64 and 128 px).
        num_classes: projection onto this many classes; None: unconditional.
        middle: width between a block's convolutions, "thin": its input's, "wide": its output's.
        shortcut_preact: as in ``DiscriminatorBlock``.
        attention: resolutions with self-attention (mimicry's SAGAN: 8 at 32 px, 32 at 128 px).
        conv, norm, activation, gain: as in ``DiscriminatorBlock``; phi is the activation.
        pooling: "sum", or "mean" in place of the sum (WGAN-GP, arXiv 1704.00028).

    Raises:
        ValueError: for a size without a table, a width its divisors do not divide, a resolution without a block, or a missing or
            unwanted y.

    """

    def __init__(
        self,
        *,
        image_size: int,
        width: int,
        num_classes: int | None = None,
        middle: Middle = "thin",
        shortcut_preact: bool = False,
        attention: Sequence[int] = (),
        conv: ConvConstructor = ResampledConv2d,
        norm: NormConstructor = nn.Identity,
        activation: ActivationConstructor = nn.ReLU,
        gain: float = BLOCK_GAIN,
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
            norm=norm,
            activation=activation,
            gain=gain,
            pooling=pooling,
        )
