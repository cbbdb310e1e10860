"""The SNGAN residual generator and discriminator, 8 to 128 px, unconditional or class-conditional.

Miyato, Kataoka, Koyama, Yoshida, "Spectral Normalization for GANs", arXiv 1802.05957 (2018), tables 3 to 6; Miyato and Koyama,
"cGANs with Projection Discriminator", arXiv 1802.05637 (2018). Widths, initialisation and parameter counts were checked against
kwotsin/mimicry; upsampling is nearest, as in pfnet-research/sngan_projection. The 8 and 16 px tables are ours.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from gconv_gan.layers.batch_norm import BatchNorm2d
from gconv_gan.layers.conditioning import Condition, apply
from gconv_gan.layers.initialisers import BLOCK_GAIN, glorot_
from gconv_gan.layers.resample import Resample, ResampledConv2d

ConvConstructor = Callable[..., nn.Module]
"""``conv(in_channels, out_channels, kernel_size, *, padding, resample)``"""
NormConstructor = Callable[[int], nn.Module]

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


def _channels(width: int, divisors: tuple[int, ...], image_size: int, network: str) -> list[int]:
    if width % max(divisors):
        raise ValueError(f"{network} width {width} must be a multiple of {max(divisors)} at {image_size} px")
    return [width // divisor for divisor in divisors]


def _check_size(image_size: int, table: dict[int, object]) -> None:
    if image_size not in table:
        raise ValueError(f"image_size {image_size} is not among {', '.join(map(str, table))}")


class GeneratorBlock(nn.Module):
    r"""Pre-activation residual block that doubles the resolution.

    .. math:: h = C_1(\mathrm{up}(\mathrm{ReLU}(n_1(x)))), \quad y = C_2(\mathrm{ReLU}(n_2(h))) + S(\mathrm{up}(x))

    with 3×3 convolutions C and a 1×1 shortcut S of the raw input. Input [B, I, H, W], result [B, O, 2H, 2W].
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        conv: ConvConstructor,
        norm: NormConstructor,
        shortcut_conv: ConvConstructor = ResampledConv2d,
    ) -> None:
        super().__init__()
        self.norm1 = norm(in_channels)
        self.conv1 = conv(in_channels, out_channels, 3, padding=1, resample="up")
        self.norm2 = norm(out_channels)
        self.conv2 = conv(out_channels, out_channels, 3, padding=1, resample="none")
        self.shortcut = shortcut_conv(in_channels, out_channels, 1, padding=0, resample="up")
        glorot_(self.conv1, gain=BLOCK_GAIN)
        glorot_(self.conv2, gain=BLOCK_GAIN)
        glorot_(self.shortcut)

    def forward(self, x: Float[Tensor, "b i h w"], condition: Condition) -> Float[Tensor, "b o h2 w2"]:
        h = apply(self.conv1, F.relu(apply(self.norm1, x, condition)), condition)
        h = apply(self.conv2, F.relu(apply(self.norm2, h, condition)), condition)
        return h + apply(self.shortcut, x, condition)


class ResNetGenerator(nn.Module):
    """z [B, latent_dim] and, if conditional, y [B] -> images [B, 3, image_size, image_size] in (−1, 1).

    Linear to a 4×4 map, one ``GeneratorBlock`` per doubling, BatchNorm, ReLU, 3×3 convolution, tanh.

    Args:
        image_size: 8, 16, 32, 64 or 128.
        width: channels of the 4×4 map (SNGAN: 256 at 32 px, 1024 at 64 and 128 px).
        latent_dim: dimension of z.
        num_classes: condition on this many classes; None: unconditional.
        conv: constructor of the blocks' 3×3 convolutions; ``ResampledConv2d``, or ``GConv2d`` with its latent_dim bound.
        shortcut_conv, rgb_conv: constructors of the blocks' 1×1 shortcuts and of the last convolution.
        norm: constructor of the blocks' norms from a channel count.
        last_norm: constructor of the norm before the last convolution.

    Raises:
        ValueError: for a size without a table, a width its divisors do not divide, or a missing or unwanted y.

    """

    def __init__(
        self,
        *,
        image_size: int,
        width: int,
        latent_dim: int = 128,
        num_classes: int | None = None,
        conv: ConvConstructor = ResampledConv2d,
        shortcut_conv: ConvConstructor = ResampledConv2d,
        rgb_conv: ConvConstructor = ResampledConv2d,
        norm: NormConstructor = BatchNorm2d,
        last_norm: NormConstructor = BatchNorm2d,
    ) -> None:
        super().__init__()
        _check_size(image_size, dict(GENERATOR_DIVISORS))
        self.image_size, self.latent_dim, self.num_classes = image_size, latent_dim, num_classes
        channels = _channels(width, GENERATOR_DIVISORS[image_size], image_size, "generator")
        self.linear = nn.Linear(latent_dim, channels[0] * 16)
        block = partial(GeneratorBlock, conv=conv, norm=norm, shortcut_conv=shortcut_conv)
        self.blocks = nn.ModuleList(block(i, o) for i, o in zip(channels[:-1], channels[1:], strict=True))
        self.last_norm = last_norm(channels[-1])
        self.to_rgb = rgb_conv(channels[-1], 3, 3, padding=1, resample="none")
        glorot_(self.linear)
        glorot_(self.to_rgb)

    def forward(self, z: Float[Tensor, "b d"], y: Int[Tensor, " b"] | None = None) -> Float[Tensor, "b 3 s s"]:
        if (y is None) != (self.num_classes is None):
            raise ValueError(
                "this generator is class-conditional and needs y" if y is None else "this generator is unconditional and takes no y"
            )
        condition = Condition(z, y)
        h = self.linear(z).unflatten(1, (-1, 4, 4))
        for block in self.blocks:
            h = block(h, condition)
        h = F.relu(apply(self.last_norm, h, condition))
        return torch.tanh(apply(self.to_rgb, h, condition))


class DiscriminatorBlock(nn.Module):
    r"""Residual block, optionally halving the resolution by 2×2 average pooling.

    .. math:: y = \mathrm{pool}(C_2(\mathrm{ReLU}(C_1(\mathrm{ReLU}(x))))) + S(\mathrm{pool}(x))

    The 1×1 shortcut S exists iff the block pools or changes the width. As the ``first`` block of a network it has no leading
    ReLU. Input [B, I, H, W]; result [B, O, H/2, W/2] or [B, O, H, W].

    Args:
        middle_channels: width between the two 3×3 convolutions.
        shortcut_preact: feed ReLU(x) to the shortcut, which is what an in-place ReLU computes.

    """

    def __init__(
        self, in_channels: int, middle_channels: int, out_channels: int, *, down: bool, first: bool = False, shortcut_preact: bool = False
    ) -> None:
        super().__init__()
        resample: Resample = "down" if down else "none"
        self.first, self.shortcut_preact = first, shortcut_preact
        self.conv1 = ResampledConv2d(in_channels, middle_channels, 3, padding=1)
        self.conv2 = ResampledConv2d(middle_channels, out_channels, 3, padding=1, resample=resample)
        glorot_(self.conv1, gain=BLOCK_GAIN)
        glorot_(self.conv2, gain=BLOCK_GAIN)
        self.shortcut: nn.Module = nn.Identity()
        if down or in_channels != out_channels:
            self.shortcut = ResampledConv2d(in_channels, out_channels, 1, resample=resample)
            glorot_(self.shortcut)

    def forward(self, x: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o h2 w2"]:
        activated = x if self.first else F.relu(x)
        h = self.conv2(F.relu(self.conv1(activated)))
        result: Tensor = h + self.shortcut(activated if self.shortcut_preact else x)
        return result


class ResNetDiscriminator(nn.Module):
    r"""images [B, 3, image_size, image_size] in [−1, 1] and, if conditional, y [B] -> logits [B].

    .. math:: D(x, y) = w \cdot h(x) + b + \langle e_y, h(x) \rangle, \qquad h(x) = \sum_{\text{pixels}} \mathrm{ReLU}(\text{blocks}(x))

    (projection discriminator, equation 4; without classes the last term is absent). Normalisation is applied from outside, see
    ``models/factory.py``.

    Args:
        image_size: 8, 16, 32, 64 or 128.
        width: channels of the last map (SNGAN: 128 at 32 px, 1024 at 64 and 128 px).
        num_classes: projection onto this many classes; None: unconditional.
        middle: width between a block's convolutions, "thin": its input's, "wide": its output's.
        shortcut_preact: as in ``DiscriminatorBlock``.

    Raises:
        ValueError: for a size without a table, a width its divisors do not divide, or a missing or unwanted y.

    """

    def __init__(
        self,
        *,
        image_size: int,
        width: int,
        num_classes: int | None = None,
        middle: Literal["thin", "wide"] = "thin",
        shortcut_preact: bool = False,
    ) -> None:
        super().__init__()
        _check_size(image_size, dict(DISCRIMINATOR_BLOCKS))
        self.image_size, self.num_classes = image_size, num_classes
        divisors, num_down = DISCRIMINATOR_BLOCKS[image_size]
        channels = _channels(width, divisors, image_size, "discriminator")
        self.blocks = nn.Sequential(DiscriminatorBlock(3, channels[0], channels[0], down=True, first=True))
        for index, (i, o) in enumerate(zip(channels[:-1], channels[1:], strict=True), start=1):
            block = DiscriminatorBlock(i, i if middle == "thin" else o, o, down=index < num_down, shortcut_preact=shortcut_preact)
            self.blocks.append(block)
        self.linear = nn.Linear(channels[-1], 1)
        glorot_(self.linear)
        self.embedding = nn.Embedding(num_classes, channels[-1]) if num_classes is not None else None
        if self.embedding is not None:
            glorot_(self.embedding)

    def forward(self, images: Float[Tensor, "b 3 s s"], y: Int[Tensor, " b"] | None = None) -> Float[Tensor, " b"]:
        if (y is None) != (self.embedding is None):
            raise ValueError(
                "this discriminator is class-conditional and needs y" if y is None else "this discriminator is unconditional and takes no y"
            )
        h = F.relu(self.blocks(images)).sum((2, 3))
        logits: Tensor = self.linear(h).squeeze(1)
        if self.embedding is not None:
            logits = logits + (self.embedding(y) * h).sum(1)
        return logits
