"""A generator and a discriminator with skip connections to the image at every resolution, 8 to 128 px.

Karras, Laine, Aittala, Hellsten, Lehtinen, Aila, "Analyzing and Improving the Image Quality of StyleGAN", arXiv 1912.04958 (2020),
section 4.1 and figure 7(b); the idea is that of Karnewar and Wang, MSG-GAN, arXiv 1903.06048. Widths are those of the residual
networks at the same size. With modulated convolutions, a mapping network and no norm the generator is StyleGAN2's synthesis network
but for its noise inputs, its constant first map, and its image without tanh.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from pydantic import PositiveInt
from torch import Tensor, nn

from gconv_gan.config.hints import check_choice
from gconv_gan.config.schema import give
from gconv_gan.layers.activations import LEAKY_RELU
from gconv_gan.layers.blocks.block_parts import (
    Activation,
    ActivationConstructor,
    BlockNorm,
    Conv,
    ConvConstructor,
    DiscriminatorConv,
    Norm,
    NormConstructor,
)
from gconv_gan.layers.conditioning import Condition, apply
from gconv_gan.layers.initialisers import glorot_
from gconv_gan.layers.norms.batch_norm_init import start_batch_norms
from gconv_gan.layers.norms.conditioned_norms import conditioned, generator_batch_norm
from gconv_gan.layers.norms.rectified import activated
from gconv_gan.layers.resample import ResampledConv2d
from gconv_gan.models.gan.blocks import (
    BASE,
    AttentionAfter,
    Pooling,
    ProjectionDiscriminator,
    block_gain,
    check_labels,
    check_size,
    divided,
    first_map,
    pooled,
    to_rgb,
)
from gconv_gan.models.gan.resnet import GENERATOR_DIVISORS


class SkipGeneratorBlock(nn.Module):
    r"""Two convolutions, of which the first may double the resolution, and an image beside them.

    .. math:: h' = \phi(n_2(C_2 * \phi(n_1(C_1 * \mathrm{up}(h))))), \qquad r' = \mathrm{up}(r) + R * h'

    with :math:`\phi` the activation, R a 1×1 convolution to three channels, and bilinear upsampling of the image r, which equals the
    filter [1, 3, 3, 1] of StyleGAN2 except at the border. Input [B, I, H, W] and r [B, 3, H, W], result [B, O, 2H, 2W] and
    [B, 3, 2H, 2W]; without ``up`` there is one convolution, r is absent and the sides stay.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        up: bool,
        conv: ConvConstructor,
        rgb_conv: ConvConstructor,
        norm: NormConstructor,
        activation: ActivationConstructor,
        gain: float,
    ) -> None:
        super().__init__()
        self.activation = activation()
        resamples = ("up", "none") if up else ("none",)
        inputs = (in_channels, out_channels)
        self.convs = nn.ModuleList(conv(i, out_channels, 3, padding=1, resample=r) for i, r in zip(inputs, resamples, strict=False))
        self.norms = nn.ModuleList(norm(out_channels) for _ in resamples)
        self.to_rgb = rgb_conv(out_channels, 3, 1, padding=0, resample="none")
        for layer in self.convs:
            glorot_(layer, gain=gain)
        glorot_(self.to_rgb)

    def forward(
        self, h: Float[Tensor, "b i h w"], image: Float[Tensor, "b 3 h w"] | None, condition: Condition
    ) -> tuple[Float[Tensor, "b o h2 w2"], Float[Tensor, "b 3 h2 w2"]]:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            h = activated(norm, self.activation, apply(conv, h, condition), condition)
        rgb = apply(self.to_rgb, h, condition)
        if image is not None:
            rgb = rgb + F.interpolate(image, scale_factor=2.0, mode="bilinear", align_corners=False)
        return h, rgb


class SkipGenerator(nn.Module):
    r"""StyleGAN2's skip generator: the image is the sum of one from every resolution.

    z [B, latent_dim] and, if conditional, y [B] -> images [B, 3, image_size, image_size] in (−1, 1): linear to a
    4×4 map, a ``SkipGeneratorBlock`` at every resolution, tanh of the summed image.

    Args:
        image_size: 8, 16, 32, 64 or 128.
        num_classes: condition on this many classes through ``norm`` or a mapping network; None: unconditional.
        width: Channels of the first, widest feature map (that of the residual networks).
        latent_dim: Dimension of z; of w behind a mapping network.
        conv: The 3×3 convolutions of its blocks.
        conv_to_rgb: Use conv for the output convolutions too (stylegan2, gigagan: one kernel, no demodulation).
        norm: The norms of its blocks.
        activation: The activation of its blocks, whose gain scales the initial weights (√2 for relu and leaky_relu).
        attention: Resolutions with self-attention, between a block and the next; StyleGAN2 has none.

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
        latent_dim: PositiveInt = 128,
        conv: Conv = ResampledConv2d,
        conv_to_rgb: bool = False,
        norm: Norm = generator_batch_norm,
        activation: Activation = LEAKY_RELU,
        attention: Sequence[PositiveInt] = (),
    ) -> None:
        super().__init__()
        check_size(image_size, GENERATOR_DIVISORS)
        self.image_size, self.latent_dim, self.num_classes = image_size, latent_dim, num_classes
        self.channels = channels = divided(width, GENERATOR_DIVISORS[image_size], image_size, "generator")
        self.linear = nn.Linear(latent_dim, channels[0] * BASE**2)
        glorot_(self.linear)
        known: dict[str, Any] = {"latent_dim": latent_dim, "num_classes": num_classes}
        block = partial(
            SkipGeneratorBlock,
            conv=give(conv, **known),
            rgb_conv=to_rgb(conv, **known) if conv_to_rgb else ResampledConv2d,
            norm=conditioned(norm, **known),
            activation=activation,
            gain=block_gain(activation),
        )
        self.blocks = nn.ModuleList([block(channels[0], channels[0], up=False)])
        self.blocks.extend(block(i, o, up=True) for i, o in zip(channels[:-1], channels[1:], strict=True))
        between = channels[:-1]  # the last block's map is used by the image alone
        self.attention = AttentionAfter(attention, sides=[BASE << index for index in range(len(between))], channels=between)
        start_batch_norms(self, norm)

    def forward(self, z: Float[Tensor, "b d"], y: Int[Tensor, " b"] | None = None) -> Float[Tensor, "b 3 s s"]:
        check_labels(y, self.num_classes, "generator")
        condition = Condition(z, y)
        h, image = first_map(self.linear, z), None
        for index, block in enumerate(self.blocks):
            h, image = block(h, image, condition)
            h = self.attention(index, h)
        assert image is not None
        return torch.tanh(image)


class SkipDiscriminatorBlock(nn.Module):
    r"""Add the image of this resolution to the map; then two convolutions, of which the second halves the resolution.

    .. math:: h' = \phi(n_2(\mathrm{pool}(C_2 * \phi(n_1(C_1 * (h + \phi(R * r)))))))

    with :math:`\phi` the activation and R a 1×1 convolution of the image r. Input [B, I, H, W] (absent in the
    first block) and r [B, 3, H, W], result [B, O, H/2, W/2].
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        conv: ConvConstructor,
        norm: NormConstructor,
        activation: ActivationConstructor,
        gain: float,
    ) -> None:
        super().__init__()
        self.activation = activation()
        self.from_rgb = ResampledConv2d(3, in_channels, 1)
        self.conv1 = conv(in_channels, in_channels, 3, padding=1, resample="none")
        self.norm1 = norm(in_channels)
        self.conv2 = conv(in_channels, out_channels, 3, padding=1, resample="down")
        self.norm2 = norm(out_channels)
        for layer in (self.from_rgb, self.conv1, self.conv2):
            glorot_(layer, gain=gain)

    def forward(self, h: Float[Tensor, "b i h w"] | None, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b o h2 w2"]:
        joined = self.activation(self.from_rgb(image))
        joined = joined if h is None else h + joined
        y: Tensor = activated(self.norm2, self.activation, self.conv2(activated(self.norm1, self.activation, self.conv1(joined))))
        return y


class SkipDiscriminator(ProjectionDiscriminator):
    r"""images [B, 3, image_size, image_size] in [−1, 1] and, if conditional, y [B] -> logits [B].

    A ``SkipDiscriminatorBlock`` at every resolution down to 8, each with the image at its own resolution (2×2 averages), a 3×3
    convolution of the 4×4 map, and the sum over its pixels, as in the residual discriminators.

    Args:
        image_size: 8, 16, 32, 64 or 128.
        num_classes: projection onto this many classes; None: unconditional.
        width: Channels of the last, widest feature map (that of the residual networks).
        conv: The 3×3 convolutions of its blocks; those of the images are 1×1.
        block_norm: Norms between its layers. All but "group" let an image's logit depend on the other images of its batch: real and
            generated images then pass through the discriminator separately, as in DCGAN, and a gradient penalty is an error.
        activation: The activation after every convolution, whose gain scales the initial weights (√2 for relu and leaky_relu).
        attention: Resolutions with self-attention, after a block; StyleGAN2 has none.
        pooling: Sum over the pixels of the last map, or their mean (WGAN-GP).

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
        activation: Activation = LEAKY_RELU,
        attention: Sequence[PositiveInt] = (),
        pooling: Pooling = "sum",
    ) -> None:
        super().__init__(image_size=image_size, num_classes=num_classes)
        check_choice("pooling", pooling, Pooling)
        self.activation, self.pooling = activation(), pooling
        check_size(image_size, GENERATOR_DIVISORS)
        self.channels = channels = divided(width, GENERATOR_DIVISORS[image_size], image_size, "discriminator")[::-1]
        gain = block_gain(activation)
        block = partial(SkipDiscriminatorBlock, conv=conv, norm=block_norm, activation=activation, gain=gain)
        self.blocks = nn.ModuleList(block(i, o) for i, o in zip(channels[:-1], channels[1:], strict=True))
        self.last_conv = conv(width, width, 3, padding=1, resample="none")
        glorot_(self.last_conv, gain=gain)
        self.add_head(width)
        sides = [image_size >> index for index in range(1, len(channels))]
        self.attention = AttentionAfter(attention, sides=sides, channels=channels[1:])
        start_batch_norms(self, block_norm)

    def features(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b f"]:
        h: Tensor | None = None
        image = images
        for index, block in enumerate(self.blocks):
            h, image = self.attention(index, block(h, image)), F.avg_pool2d(image, 2)
        return pooled(self.activation(self.last_conv(h)), self.pooling)
