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
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gconv_gan.config.hints import check_choice
from gconv_gan.layers.batch_norm import BatchNorm2d, ClassConditionalNorm2d, LatentBatchNorm2d, LatentNorm2d
from gconv_gan.layers.conditioning import Condition, Conditioned, apply
from gconv_gan.layers.initialisers import Weighted, normal_, orthogonal_, zero_bias_
from gconv_gan.layers.parts import ActivationConstructor, Order
from gconv_gan.layers.resample import ResampledConv2d
from gconv_gan.models import gan_resnet
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

Init = Literal["orthogonal", "normal"]

# the tables of gan_resnet but at 64 px, where the first block keeps the width and D's last block keeps the resolution
GENERATOR_DIVISORS = gan_resnet.GENERATOR_DIVISORS | {64: (1, 1, 2, 4, 8)}
DISCRIMINATOR_BLOCKS = gan_resnet.DISCRIMINATOR_BLOCKS | {64: ((16, 8, 4, 2, 1), 4)}


def num_chunks(image_size: int) -> int:
    """Return into how many chunks a hierarchical z is split: one for the 4×4 map, one for each block."""
    return len(GENERATOR_DIVISORS[image_size])


def block_latent_dim(*, image_size: int, latent_dim: int, shared_dim: int | None, hierarchical: bool) -> int:
    """Return the length of the vector that each block is conditioned on: [class embedding, chunk of z or whole z].

    Raises:
        ValueError: for a size without a table, or a z that does not divide into equal chunks.

    """
    check_size(image_size, GENERATOR_DIVISORS)
    chunks = num_chunks(image_size) if hierarchical else 1
    if latent_dim % chunks:
        near = max(1, round(latent_dim / chunks)) * chunks
        raise ValueError(f"latent_dim {latent_dim} does not divide into {chunks} chunks at {image_size} px: take {near}")
    return latent_dim // chunks + (shared_dim or 0)


class BigGANGenerator(nn.Module):
    r"""z [B, latent_dim] and, if conditional, y [B] -> images [B, 3, image_size, image_size] in (−1, 1).

    A residual generator whose every block is conditioned on a vector of its own,

    .. math:: c_l = [E\,y,\; z_l], \qquad z = [z_0, z_1, \dots, z_L],

    the class embedding E y shared by all blocks, and the block's chunk of z; z_0 makes the 4×4 map. ``conv`` selects by c_l, and
    ``norm`` modulates by it. Without ``hierarchical`` every z_l is the whole z; without ``shared_dim`` there is no E y, and the class
    enters through a class-conditional ``norm``, as in the CIFAR script of BigGAN-PyTorch.

    Args:
        image_size: 8, 16, 32, 64 or 128.
        width: channels of the 4×4 map (BigGAN: 16·ch = 1536 at 128 px; 4·ch = 256 in the CIFAR script; StudioGAN: 384 at 32 px).
        latent_dim: dimension of z (BigGAN: 120 at 128 px; StudioGAN: 80 at 32 px, 100 at 64 px).
        num_classes: condition on this many classes; None: unconditional.
        shared_dim: dimension of E y (BigGAN: 128); None: no shared embedding.
        hierarchical: split z into chunks.
        attention: resolutions with self-attention (BigGAN: 64 at 64 and 128 px; StudioGAN: 16 at 32 px).
        conv: constructor of the blocks' 3×3 convolutions; a latent_dim bound to it is that of ``block_latent_dim``.
        shortcut_conv, rgb_conv: constructors of the blocks' 1×1 shortcuts and of the last convolution, likewise.
        norm: constructor of the blocks' norms, likewise; None: ``LatentBatchNorm2d`` of c_l.
        last_norm: constructor of the norm before the last convolution. It and ``rgb_conv`` see the last block's vector.
        activation, order: as in ``GeneratorBlock``.
        init: see ``initialise_weights``.

    Raises:
        ValueError: for a size without a table, a width its divisors do not divide, a z that does not divide into equal chunks, a
            shared embedding without classes, a hierarchical z with classes but no shared embedding, a resolution without a block,
            or a missing or unwanted y.

    """

    def __init__(
        self,
        *,
        image_size: int,
        width: int,
        latent_dim: int,
        num_classes: int | None = None,
        shared_dim: int | None = None,
        hierarchical: bool = True,
        attention: Sequence[int] = (),
        conv: ConvConstructor = ResampledConv2d,
        shortcut_conv: ConvConstructor = ResampledConv2d,
        rgb_conv: ConvConstructor = ResampledConv2d,
        norm: NormConstructor | None = None,
        last_norm: NormConstructor = BatchNorm2d,
        activation: ActivationConstructor = nn.ReLU,
        order: Order = "standard",
        init: Init = "orthogonal",
    ) -> None:
        super().__init__()
        if shared_dim is not None and num_classes is None:
            raise ValueError("a shared class embedding needs classes: leave shared_dim out of an unconditional generator")
        if hierarchical and num_classes is not None and shared_dim is None:
            raise ValueError("a hierarchical z reaches the blocks together with the shared class embedding: give shared_dim")
        block_dim = block_latent_dim(image_size=image_size, latent_dim=latent_dim, shared_dim=shared_dim, hierarchical=hierarchical)
        self.image_size, self.latent_dim, self.num_classes, self.hierarchical = image_size, latent_dim, num_classes, hierarchical
        self.channels = channels = divided(width, GENERATOR_DIVISORS[image_size], image_size, "generator")
        norm = norm or partial(LatentBatchNorm2d, latent_dim=block_dim)
        self.shared = None if num_classes is None or shared_dim is None else nn.Embedding(num_classes, shared_dim)
        self.linear = nn.Linear(block_dim - (shared_dim or 0), channels[0] * BASE**2)
        self.activation, self.order = activation(), order
        block = partial(GeneratorBlock, conv=conv, norm=norm, shortcut_conv=shortcut_conv, activation=activation, order=order)
        self.blocks = nn.ModuleList(block(i, o) for i, o in zip(channels[:-1], channels[1:], strict=True))
        self.last_norm = last_norm(channels[-1])
        self.to_rgb = rgb_conv(channels[-1], 3, 3, padding=1, resample="none")
        sides = [2 * BASE << block for block in range(len(self.blocks))]
        self.attention = AttentionAfter(attention, sides=sides, channels=channels[1:])
        initialise_weights(self, init)

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
    r"""images [B, 3, image_size, image_size] in [−1, 1] and, if conditional, y [B] -> logits [B].

    .. math:: D(x, y) = w \cdot h(x) + b + \langle e_y, h(x) \rangle, \qquad h(x) = \sum_{\text{pixels}} \phi(\text{blocks}(x))

    Blocks are as wide between their convolutions as at their end. Normalisation is applied from outside, see ``models/factory.py``.

    Args:
        image_size: 8, 16, 32, 64 or 128.
        width: channels of the last map (BigGAN: 16·ch = 1536 at 128 px; 4·ch = 256 in the CIFAR script; StudioGAN: 192 at 32 px).
        num_classes: projection onto this many classes; None: unconditional.
        attention: resolutions with self-attention (BigGAN: 64 at 128 px; StudioGAN: 16 at 32 px).
        conv, norm, activation: as in ``DiscriminatorBlock``; phi is the activation.
        pooling: "sum", or "mean" in place of the sum.
        shortcut_preact: feed the rectified input to the shortcuts (StudioGAN), see ``DiscriminatorBlock``.
        init: see ``initialise_weights``.

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
        attention: Sequence[int] = (),
        conv: ConvConstructor = ResampledConv2d,
        norm: NormConstructor = nn.Identity,
        activation: ActivationConstructor = nn.ReLU,
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
            norm=norm,
            activation=activation,
            pooling=pooling,
        )
        initialise_weights(self, init)


def initialise_weights(network: nn.Module, init: Init) -> None:
    """Initialise every convolution, linear map and embedding; gates, and norms of another kind, keep their own start.

    Scales of a class-conditional norm start from 1 plus what an embedding starts from.

    Args:
        network: changed in place.
        init: "orthogonal": orthogonal weights and biases of 0, as StudioGAN starts; "normal": weights of N(0, 0.02²) and torch's
            default biases, as in the CIFAR script of BigGAN-PyTorch.

    """
    check_choice("init", init, Init)
    if isinstance(network, Weighted):
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
