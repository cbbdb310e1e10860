"""Components of the adversarial networks: residual blocks, self-attention after a block, the projection head, and checks.

Miyato, Kataoka, Koyama, Yoshida, "Spectral Normalization for GANs", arXiv 1802.05957 (2018); Miyato and Koyama, "cGANs with
Projection Discriminator", arXiv 1802.05637 (2018); attention as in SAGAN, arXiv 1805.08318 (2019).
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gconv_gan.config.hints import check_choice
from gconv_gan.config.schema import give, unbound
from gconv_gan.layers.activations import RECTIFIERS, activation_gain
from gconv_gan.layers.blocks.block_parts import ActivationConstructor, ConvConstructor, NormConstructor, Order
from gconv_gan.layers.blocks.non_local import NonLocal2d
from gconv_gan.layers.conditioning import Condition, apply
from gconv_gan.layers.initialisers import BLOCK_GAIN, glorot_
from gconv_gan.layers.norms.rectified import activated
from gconv_gan.layers.resample import Resample, ResampledConv2d
from gconv_gan.layers.slicing import Axis, Slice, Sliceable

Pooling = Literal["sum", "mean"]
BASE = 4
"""Side of a generator's first and of most discriminators' last map."""


def check_size(image_size: int, sizes: Collection[int]) -> None:
    """Raise ``ValueError`` for a size that is not in the network's table."""
    if image_size not in sizes:
        raise ValueError(f"image_size {image_size} is not among {', '.join(map(str, sizes))}")


def divided(width: int, divisors: Sequence[int], image_size: int, network: str) -> list[int]:
    """Return the channels width/divisor of each map; raise ``ValueError`` if it is not an integer."""
    if width % max(divisors):
        raise ValueError(f"{network} width {width} must be a multiple of {max(divisors)} at {image_size} px")
    return [width // divisor for divisor in divisors]


def check_labels(y: Tensor | None, num_classes: int | None, network: str) -> None:
    """Raise ``ValueError`` for missing labels of a conditional network, or labels for an unconditional one."""
    if (y is None) != (num_classes is None):
        raise ValueError(
            f"this {network} is class-conditional and needs y" if y is None else f"this {network} is unconditional and takes no y"
        )


def block_gain(activation: ActivationConstructor) -> float:
    """Return the gain of the initial convolutions in blocks with this activation: the published √2 for rectifiers."""
    return BLOCK_GAIN if isinstance(activation(), RECTIFIERS) else activation_gain(activation)


def to_rgb(conv: ConvConstructor, *, latent_dim: int, num_classes: int | None) -> ConvConstructor:
    """Return the constructor of the output convolution for the blocks' ``conv``: the same, or that of its ``to_rgb``."""
    own: Callable[[ConvConstructor], ConvConstructor] | None = getattr(unbound(conv)[0], "to_rgb", None)
    found: ConvConstructor = give(conv if own is None else own(conv), latent_dim=latent_dim, num_classes=num_classes)
    return found


def preactivate(x: Tensor, norm: nn.Module, activation: nn.Module, condition: Condition, order: Order) -> Tensor:
    """Return phi(n(x)), or n(phi(x)) in the whitened order."""
    if order == "whitened":
        return apply(norm, activation(x), condition)
    return activated(norm, activation, x, condition)


class GeneratorBlock(nn.Module):
    r"""Pre-activation residual block that doubles the resolution.

    .. math:: h = C_1(\mathrm{up}(\phi(n_1(x)))), \quad y = C_2(\phi(n_2(h))) + S(\mathrm{up}(x))

    with 3×3 convolutions C and a 1×1 shortcut S of the raw input; in the whitened order :math:`n(\phi(\cdot))`, so that a convolution's
    input is normalised (``WhitenedUnit``). Input [B, I, H, W], result [B, O, 2H, 2W].

    Args:
        conv, shortcut_conv: constructors of C and S.
        norm: constructor of n from a channel count.
        activation: constructor of phi.
        gain: of the Glorot-uniform C.
        order: "standard" or "whitened".

    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        conv: ConvConstructor,
        norm: NormConstructor,
        shortcut_conv: ConvConstructor = ResampledConv2d,
        activation: ActivationConstructor = nn.ReLU,
        gain: float = BLOCK_GAIN,
        order: Order = "standard",
    ) -> None:
        super().__init__()
        check_choice("order", order, Order)
        self.activation, self.order = activation(), order
        self.norm1 = norm(in_channels)
        self.conv1 = conv(in_channels, out_channels, 3, padding=1, resample="up")
        self.norm2 = norm(out_channels)
        self.conv2 = conv(out_channels, out_channels, 3, padding=1, resample="none")
        self.shortcut = shortcut_conv(in_channels, out_channels, 1, padding=0, resample="up")
        glorot_(self.conv1, gain=gain)
        glorot_(self.conv2, gain=gain)
        glorot_(self.shortcut)

    def forward(self, x: Float[Tensor, "b i h w"], condition: Condition) -> Float[Tensor, "b o h2 w2"]:
        h = apply(self.conv1, preactivate(x, self.norm1, self.activation, condition, self.order), condition)
        h = apply(self.conv2, preactivate(h, self.norm2, self.activation, condition, self.order), condition)
        return h + apply(self.shortcut, x, condition)


class DiscriminatorBlock(nn.Module):
    r"""Residual block, optionally halving the resolution by 2×2 average pooling.

    .. math:: y = \mathrm{pool}(C_2(\phi(n_2(C_1(\phi(n_1(x))))))) + S(\mathrm{pool}(x))

    The 1×1 shortcut S exists iff the block pools or changes the width. As the ``first`` block of a network, on the images, it has
    neither n_1 nor the leading activation, and its C_1 is plain. Input [B, I, H, W]; result [B, O, H/2, W/2] or [B, O, H, W].

    Args:
        middle_channels: width between the two 3×3 convolutions.
        shortcut_preact: pass :math:`\phi(n_1(x))` to the shortcut, as an in-place ReLU does.
        conv: constructor of C.
        norm: constructor of n from a channel count.
        activation: constructor of phi.
        gain: of the Glorot-uniform C.

    """

    def __init__(
        self,
        in_channels: int,
        middle_channels: int,
        out_channels: int,
        *,
        down: bool,
        first: bool = False,
        shortcut_preact: bool = False,
        conv: ConvConstructor = ResampledConv2d,
        norm: NormConstructor = nn.Identity,
        activation: ActivationConstructor = nn.ReLU,
        gain: float = BLOCK_GAIN,
    ) -> None:
        super().__init__()
        resample: Resample = "down" if down else "none"
        self.first, self.shortcut_preact, self.activation = first, shortcut_preact, activation()
        self.norm1 = nn.Identity() if first else norm(in_channels)
        self.conv1 = (ResampledConv2d if first else conv)(in_channels, middle_channels, 3, padding=1, resample="none")
        self.norm2 = norm(middle_channels)
        self.conv2 = conv(middle_channels, out_channels, 3, padding=1, resample=resample)
        glorot_(self.conv1, gain=gain)
        glorot_(self.conv2, gain=gain)
        self.shortcut: nn.Module = nn.Identity()
        if down or in_channels != out_channels:
            self.shortcut = ResampledConv2d(in_channels, out_channels, 1, resample=resample)
            glorot_(self.shortcut)

    def forward(self, x: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o h2 w2"]:
        begin = x if self.first else activated(self.norm1, self.activation, x)
        h = self.conv2(activated(self.norm2, self.activation, self.conv1(begin)))
        result: Tensor = h + self.shortcut(begin if self.shortcut_preact else x)
        return result


class AttentionAfter(nn.ModuleDict):
    """Self-attention (SAGAN's form) after some of a network's blocks, by the block's number; Glorot-uniform maps.

    Args:
        wanted: resolutions; attention follows the first block whose result has that side.
        sides: side of the result of each block.
        channels: channels of the result of each block.

    Raises:
        ValueError: for a resolution that no block has, or a block of fewer than 8 channels.

    """

    def __init__(self, wanted: Sequence[int], *, sides: Sequence[int], channels: Sequence[int]) -> None:
        super().__init__()
        for side in wanted:
            if side not in sides:
                possible = ", ".join(map(str, dict.fromkeys(sides)))
                raise ValueError(f"no block ends at {side} px for attention to follow: they end at {possible} px")
            block = sides.index(side)
            layer = NonLocal2d.sagan(channels[block])
            for conv in (layer.query, layer.key, layer.value, layer.output):
                glorot_(conv)
            self[str(block)] = layer

    def forward(self, block: int, h: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        result: Tensor = self[str(block)](h) if str(block) in self else h
        return result


class ClassProjection(Sliceable, nn.Embedding):
    r"""The scalar product of features with the embedding of the class.

    .. math:: p(h, y) = \langle e_y, h \rangle

    Input h [B, d] and y [B], result [B]; state dict of ``nn.Embedding``.
    """

    def sizes(self) -> Mapping[Axis, int]:
        """See ``Sliceable``."""
        return {"inputs": self.embedding_dim}

    def slices(self, axis: Axis) -> Iterator[Slice]:
        """See ``Sliceable``."""
        yield Slice(self, "weight", 1, reads=True)

    def resized(self, axis: Axis, count: int) -> None:
        """See ``Sliceable``."""
        self.embedding_dim = count

    def stand_in(self) -> nn.Module:
        """See ``Sliceable``."""
        return _LinearProjection(self.embedding_dim)

    def forward(self, h: Float[Tensor, "b d"], y: Int[Tensor, " b"]) -> Float[Tensor, " b"]:  # type: ignore[override]
        projected: Tensor = (super().forward(y) * h).sum(1)
        return projected


class _LinearProjection(nn.Linear):
    def __init__(self, features: int) -> None:
        super().__init__(features, 1)

    def forward(self, h: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(h).squeeze(1)


class ProjectionDiscriminator(nn.Module):
    r"""Base of discriminators: images [B, 3, s, s] in [−1, 1] and, if conditional, y [B] -> logits [B].

    .. math:: D(x, y) = w \cdot h(x) + b + \langle e_y, h(x) \rangle

    (arXiv 1802.05637, equation 4; without classes the last term is absent) with h(x) computed by a sub-class in ``features``.
    Normalisation is applied from outside, see ``models/factory.py``.

    Raises:
        ValueError: in ``forward`` for a missing or unwanted y.

    """

    linear: nn.Linear
    embedding: ClassProjection | None

    def __init__(self, *, image_size: int, num_classes: int | None) -> None:
        super().__init__()
        self.image_size, self.num_classes = image_size, num_classes

    def add_head(self, feature_dim: int) -> None:
        """Create the maps of h(x) to the logit, with Glorot-uniform weights."""
        self.linear = nn.Linear(feature_dim, 1)
        glorot_(self.linear)
        self.embedding = ClassProjection(self.num_classes, feature_dim) if self.num_classes is not None else None
        if self.embedding is not None:
            glorot_(self.embedding)

    def features(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b f"]:
        """Return h(x)."""
        raise NotImplementedError

    def stages(self) -> list[tuple[nn.Module, ...]]:
        """Return the layers of each stage, in the order in which an image meets them; without attention and the head."""
        return [(block,) for block in self.blocks]  # type: ignore[union-attr]  # sub-classes without blocks override it

    def forward(self, images: Float[Tensor, "b 3 s s"], y: Int[Tensor, " b"] | None = None) -> Float[Tensor, " b"]:
        check_labels(y, self.num_classes, "discriminator")
        h = self.features(images)
        logits: Tensor = self.linear(h).squeeze(1)
        if self.embedding is not None:
            logits = logits + self.embedding(h, y)
        return logits


def pooled(h: Float[Tensor, "b c h w"], pooling: Pooling) -> Float[Tensor, "b c"]:
    """Return the sum (SNGAN) or the mean (WGAN-GP) over a map's pixels; logits differ in scale by their number."""
    return h.sum((2, 3)) if pooling == "sum" else h.mean((2, 3))


class ResidualDiscriminator(ProjectionDiscriminator):
    r"""A chain of residual blocks and the sum over its last map.

    .. math:: h(x) = \sum_{\text{pixels}} \phi(\text{blocks}(x))

    Args:
        channels: width of each block's result, kept as an attribute.
        num_down: how many of the first blocks halve the resolution.
        wide: width between a block's convolutions is its output's; otherwise its input's.
        shortcut_preact: as in ``DiscriminatorBlock``.
        attention: resolutions with self-attention, see ``AttentionAfter``.
        conv, norm, activation, gain: as in ``DiscriminatorBlock``; phi is the activation.
        pooling: "sum", or "mean" instead of the sum, see ``pooled``.

    """

    def __init__(
        self,
        *,
        image_size: int,
        num_classes: int | None,
        channels: Sequence[int],
        num_down: int,
        wide: bool,
        shortcut_preact: bool,
        attention: Sequence[int],
        conv: ConvConstructor = ResampledConv2d,
        norm: NormConstructor = nn.Identity,
        activation: ActivationConstructor = nn.ReLU,
        gain: float = BLOCK_GAIN,
        pooling: Pooling = "sum",
    ) -> None:
        super().__init__(image_size=image_size, num_classes=num_classes)
        check_choice("pooling", pooling, Pooling)
        self.activation, self.pooling, self.channels = activation(), pooling, channels
        block = partial(DiscriminatorBlock, conv=conv, norm=norm, activation=activation, gain=gain)
        self.blocks = nn.Sequential(block(3, channels[0], channels[0], down=True, first=True))
        for index, (i, o) in enumerate(zip(channels[:-1], channels[1:], strict=True), start=1):
            self.blocks.append(block(i, o if wide else i, o, down=index < num_down, shortcut_preact=shortcut_preact))
        self.add_head(channels[-1])
        sides = [image_size >> min(index + 1, num_down) for index in range(len(channels))]
        self.attention = AttentionAfter(attention, sides=sides, channels=channels)

    def features(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b f"]:
        h = images
        for index, block in enumerate(self.blocks):
            h = self.attention(index, block(h))
        return pooled(self.activation(h), self.pooling)


def run_generator_blocks(
    blocks: nn.ModuleList, attention: AttentionAfter, h: Float[Tensor, "b c h w"], conditions: Sequence[Condition]
) -> Float[Tensor, "b c2 h2 w2"]:
    """Return h after all blocks, each with its own condition and the attention that follows it."""
    for index, (block, condition) in enumerate(zip(blocks, conditions, strict=True)):
        h = attention(index, block(h, condition))
    return h


def first_map(linear: nn.Module, z: Float[Tensor, "b d"]) -> Float[Tensor, "b c 4 4"]:
    """Return a linear map of z as the 4×4 map a generator begins with."""
    flat: Tensor = linear(z)
    maps = flat.view(z.shape[0], -1, BASE, BASE)  # len() would fix the batch size of an exported graph
    # the layout of a network's weights, in which a bank of kernels, whose layout is not theirs, leaves its maps
    return maps.contiguous(memory_format=torch.channels_last) if maps.device.type == "cpu" and not torch.compiler.is_compiling() else maps
