"""BigGAN's generator and discriminator, 8 to 128 px.

Brock, Donahue, Simonyan, "Large Scale GAN Training for High Fidelity Natural Image Synthesis", arXiv 1809.11096 (2018), appendix B.
Widths, parameter counts and what is normalised were checked against ajbrock/BigGAN-PyTorch. The 8 and 16 px tables are ours. What
BigGAN calls ``ch`` is a quarter of the width at 32 px and a sixteenth at 64 and 128 px. Both networks are spectrally normalised from
outside, see ``models/factory.py``.

StudioGAN's "BigGAN" (``models/big_resnet.py``) differs: at 32 px its discriminator is 2·ch wide, where the generator is 4·ch; its
discriminator's shortcuts see the rectified input (``shortcut_preact``); and its generator at 64 px narrows from the first block on,
16·ch to 8·ch, so that it has 17,303,203 parameters at ch = 80, z = 100 and 200 classes, and the one here 48,939,843.
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
from gconv_gan.layers.conditioning import Condition, Conditioned, apply
from gconv_gan.layers.initialisers import can_be_initialised, normal_, orthogonal_, zero_bias_
from gconv_gan.layers.norms.batch_norm import ClassConditionalNorm2d, LatentNorm2d
from gconv_gan.layers.norms.batch_norm_init import start_batch_norms
from gconv_gan.layers.norms.conditioned_norms import conditioned, generator_batch_norm, unconditioned
from gconv_gan.layers.resample import ResampledConv2d
from gconv_gan.models.gan import resnet as gan_resnet
from gconv_gan.models.gan.blocks import (
    BASE,
    AttentionAfter,
    GeneratorBlock,
    Pooling,
    ResidualDiscriminator,
    check_labels,
    check_size,
    divided,
    first_map,
    preactivate,
    run_generator_blocks,
    to_rgb,
)

Init = Literal["orthogonal", "normal"]

# the tables of gan_resnet but at 64 px, where the first block keeps the width and D's last block keeps the resolution
GENERATOR_DIVISORS = gan_resnet.GENERATOR_DIVISORS | {64: (1, 1, 2, 4, 8)}
DISCRIMINATOR_BLOCKS = gan_resnet.DISCRIMINATOR_BLOCKS | {64: ((16, 8, 4, 2, 1), 4)}


def num_chunks(image_size: int) -> int:
    """Return the number of chunks of a hierarchical z: one for the 4×4 map, one for each block."""
    return len(GENERATOR_DIVISORS[image_size])


def block_latent_dim(*, image_size: int, latent_dim: int, shared_dim: int, hierarchical: bool) -> int:
    """Return the length of each block's condition vector: [class embedding, chunk of z or whole z].

    Raises:
        ValueError: for a size without a table, or a z that does not divide into equal chunks.

    """
    check_size(image_size, GENERATOR_DIVISORS)
    chunks = num_chunks(image_size) if hierarchical else 1
    if latent_dim % chunks:
        near = max(1, round(latent_dim / chunks)) * chunks
        raise ValueError(f"latent_dim {latent_dim} does not divide into {chunks} chunks at {image_size} px: take {near}")
    return latent_dim // chunks + shared_dim


class BigGANGenerator(nn.Module):
    r"""The BigGAN generator: a chunk of z and a shared class embedding for every block.

    z [B, latent_dim] and, if conditional, y [B] -> images [B, 3, image_size, image_size] in (−1, 1). A residual
    generator whose every block is conditioned on a vector of its own,

    .. math:: c_l = [E\,y,\; z_l], \qquad z = [z_0, z_1, \dots, z_L],

    the class embedding E y shared by all blocks, and the block's chunk of z; z_0 makes the 4×4 map. ``conv`` selects by c_l, and
    ``norm`` modulates by it. Without ``hierarchical`` every z_l is the whole z; without ``shared_dim`` there is no E y, and the class
    enters through a class-conditional ``norm``, as in the CIFAR script of BigGAN-PyTorch.

    Args:
        image_size: 8, 16, 32, 64 or 128.
        num_classes: condition on this many classes; None: unconditional.
        width: Channels of the first, widest feature map (16·ch = 1536 at 128 px; 4·ch = 256 in the CIFAR script; StudioGAN: 384 at 32 px).
        latent_dim: Dimension of z; hierarchical, a multiple of 4, 5, 6 chunks at 32, 64, 128 px (StudioGAN: 80, 100, 120).
        shared_dim: Dimension of the shared class embedding (E y) of a conditional run; 0: none, each norm has its own table.
        hierarchical: Split z into chunks, one for the first map and one for each block.
        conv: The convolutions of its blocks, selected by the block's vector c_l.
        conv_to_rgb: Use conv for the output convolutions too (stylegan2, gigagan: one kernel, no demodulation).
        conv_in_shortcuts: Use conv for the 1×1 shortcuts too.
        norm: The norms of its blocks, modulated by the block's vector; the last norm of the network does not depend on the class.
        activation: The activation of its blocks.
        attention: Resolutions with self-attention (BigGAN: 64 at 64 and 128 px; StudioGAN: 16 at 32 px).
        order: Norm, activation, convolution; or activation, norm, convolution: the whitening unit.
        init: Initial weights; orthogonal: with biases of 0 (StudioGAN); normal: N(0, 0.02²), as in the CIFAR script of BigGAN-PyTorch.

    Raises:
        ValueError: for a size without a table, a width its divisors do not divide, a z that does not divide into equal chunks, a
            hierarchical z with classes but no shared embedding, blocks of which no layer depends on their vector, a resolution
            without a block, or a missing or unwanted y.

    """

    def __init__(
        self,
        *,
        image_size: int,
        num_classes: int | None = None,
        width: PositiveInt,
        latent_dim: PositiveInt = 120,
        shared_dim: NonNegativeInt = 128,
        hierarchical: bool = True,
        conv: Conv = ResampledConv2d,
        conv_to_rgb: bool = False,
        conv_in_shortcuts: bool = False,
        norm: Norm = generator_batch_norm,
        activation: Activation = nn.ReLU,
        attention: Sequence[PositiveInt] = (),
        order: Order = "standard",
        init: Init = "orthogonal",
    ) -> None:
        super().__init__()
        shared_dim = 0 if num_classes is None else shared_dim
        if hierarchical and num_classes is not None and not shared_dim:
            raise ValueError("a hierarchical z reaches the blocks together with the shared class embedding: give shared_dim")
        block_dim = block_latent_dim(image_size=image_size, latent_dim=latent_dim, shared_dim=shared_dim, hierarchical=hierarchical)
        self.image_size, self.latent_dim, self.num_classes, self.hierarchical = image_size, latent_dim, num_classes, hierarchical
        self.channels = channels = divided(width, GENERATOR_DIVISORS[image_size], image_size, "generator")
        known: dict[str, Any] = {"latent_dim": block_dim, "num_classes": num_classes}
        by_vector = hierarchical or shared_dim > 0
        self.shared = None if num_classes is None or not shared_dim else nn.Embedding(num_classes, shared_dim)
        self.linear = nn.Linear(block_dim - shared_dim, channels[0] * BASE**2)
        self.activation, self.order = activation(), order
        conv, rgb_conv = give(conv, **known), to_rgb(conv, **known) if conv_to_rgb else ResampledConv2d
        block = partial(
            GeneratorBlock,
            conv=conv,
            norm=conditioned(norm, **known, by_vector=by_vector),
            shortcut_conv=conv if conv_in_shortcuts else ResampledConv2d,
            activation=activation,
            order=order,
        )
        self.blocks = nn.ModuleList(block(i, o) for i, o in zip(channels[:-1], channels[1:], strict=True))
        if by_vector and not any(isinstance(module, Conditioned) for module in self.blocks.modules()):
            raise ValueError(
                "the blocks of biggan depend on neither z nor class: take a norm with scale and shift, a convolution that depends on the "
                "latent vector, or hierarchical = false and shared_dim = 0"
            )
        self.last_norm = unconditioned(norm, latent_dim=block_dim, num_classes=None if by_vector else num_classes)(channels[-1])
        self.to_rgb = rgb_conv(channels[-1], 3, 3, padding=1, resample="none")
        sides = [2 * BASE << block for block in range(len(self.blocks))]
        self.attention = AttentionAfter(attention, sides=sides, channels=channels[1:])
        initialise_weights(self, init)
        start_batch_norms(self, norm)

    def conditions(self, z: Float[Tensor, "b d"], y: Int[Tensor, " b"] | None) -> tuple[Float[Tensor, "b c"], list[Condition]]:
        """Return z_0 and the condition of each block."""
        blocks = len(self.blocks)
        first, *chunks = z.chunk(1 + blocks, dim=1) if self.hierarchical else [z] * (1 + blocks)
        if self.shared is not None:
            embedded = self.shared(y)
            chunks = [torch.cat([embedded, chunk], 1) for chunk in chunks]
        return first, [Condition(chunk, y) for chunk in chunks]

    def forward(self, z: Float[Tensor, "b d"], y: Int[Tensor, " b"] | None = None) -> Float[Tensor, "b 3 s s"]:
        check_labels(y, self.num_classes, "generator")
        first, conditions = self.conditions(z, y)
        h = run_generator_blocks(self.blocks, self.attention, first_map(self.linear, first), conditions)
        h = preactivate(h, self.last_norm, self.activation, conditions[-1], self.order)
        return torch.tanh(apply(self.to_rgb, h, conditions[-1]))


class BigGANDiscriminator(ResidualDiscriminator):
    r"""The BigGAN discriminator: wide residual blocks.

    images [B, 3, image_size, image_size] in [−1, 1] and, if conditional, y [B] -> logits [B].

    .. math:: D(x, y) = w \cdot h(x) + b + \langle e_y, h(x) \rangle, \qquad h(x) = \sum_{\text{pixels}} \phi(\text{blocks}(x))

    Blocks are as wide between their convolutions as at their end. Normalisation is applied from outside, see ``models/factory.py``.

    Args:
        image_size: 8, 16, 32, 64 or 128.
        num_classes: projection onto this many classes; None: unconditional.
        width: Channels of the last, widest feature map (16·ch = 1536 at 128 px; 4·ch = 256 in the CIFAR script; StudioGAN: 2·ch = 192 at
            32 px).
        conv: The convolutions of its blocks, except those of the images.
        block_norm: Norms between its layers. All but "group" let an image's logit depend on the other images of its batch: real and
            generated images then pass through the discriminator separately, as in DCGAN, and a gradient penalty is an error.
        activation: The activation of its blocks (phi).
        attention: Resolutions with self-attention (BigGAN: 64 at 128 px; StudioGAN: 16 at 32 px).
        pooling: Sum over the pixels of the last map, or their mean (WGAN-GP).
        shortcut_preact: Rectify the shortcut's input, as StudioGAN's in-place ReLU does.
        init: Initial weights; orthogonal: with biases of 0 (StudioGAN); normal: N(0, 0.02²), as in the CIFAR script of BigGAN-PyTorch.

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
        pooling: Pooling = "sum",
        shortcut_preact: bool = False,
        init: Init = "orthogonal",
    ) -> None:
        check_size(image_size, DISCRIMINATOR_BLOCKS)
        divisors, num_down = DISCRIMINATOR_BLOCKS[image_size]
        super().__init__(
            image_size=image_size,
            num_classes=num_classes,
            channels=divided(width, divisors, image_size, "discriminator"),
            num_down=num_down,
            wide=True,
            shortcut_preact=shortcut_preact,
            attention=attention,
            conv=conv,
            norm=block_norm,
            activation=activation,
            pooling=pooling,
        )
        initialise_weights(self, init)
        start_batch_norms(self, block_norm)


def initialise_weights(network: nn.Module, init: Init) -> None:
    """Initialise every convolution, linear map and embedding; gates, and norms of another kind, keep their initial values.

    The initial scales of a class-conditional norm are 1 plus the initial values of an embedding.

    Args:
        network: changed in place.
        init: "orthogonal": orthogonal weights and biases of 0, as StudioGAN starts; "normal": weights of N(0, 0.02²) and torch's
            default biases, as in the CIFAR script of BigGAN-PyTorch.

    """
    check_choice("init", init, Init)
    if can_be_initialised(network):
        if init == "orthogonal":
            orthogonal_(network)
            zero_bias_(network)
        else:
            normal_(network)
    elif isinstance(network, ClassConditionalNorm2d):
        for table in (network.scale, network.shift):
            initialise_weights(table, init)
        with torch.no_grad():
            network.scale.weight.add_(1)
    elif isinstance(network, LatentNorm2d) or not isinstance(network, Conditioned):
        for child in network.children():
            initialise_weights(child, init)
