"""Every image classifier by name. ``build_classifier`` builds one, with exchanged parts."""

import difflib
from dataclasses import fields, replace
from functools import partial
from typing import Any

from torch import nn

from gconv_gan.layers.blocks.block_parts import STANDARD, ConvConstructor, Parts
from gconv_gan.layers.blocks.ghost import GhostModule
from gconv_gan.layers.blocks.residual import basic_block, bottleneck, preact_basic_block, preact_bottleneck, zero_pad_shortcut
from gconv_gan.layers.blocks.squeeze_excite import SqueezeExcite
from gconv_gan.layers.norms.batch_norm import BatchNorm2d
from gconv_gan.models.classifiers.classifier import Classifier
from gconv_gan.models.classifiers.conv_net import ConvNet
from gconv_gan.models.classifiers.elu_net import ELU, ELU_11, ELU_18, ELUNet
from gconv_gan.models.classifiers.g_ghost_regnet import REGNET_X, RegNetX
from gconv_gan.models.classifiers.ghostnet import SQUEEZING, GhostNet
from gconv_gan.models.classifiers.mgic_net import MGIC_SMALL, MGICMobileNetV3, MGICResNet
from gconv_gan.models.classifiers.mgic_net import SQUEEZING as MGIC_SQUEEZING
from gconv_gan.models.classifiers.mobilenet_v3 import HARD_SWISH, SMALL, MobileNetV3
from gconv_gan.models.classifiers.parts.stems import bare_cifar_stem, bare_imagenet_stem, cifar_stem
from gconv_gan.models.classifiers.plain_net import PLAIN, PlainNet
from gconv_gan.models.classifiers.residual_attention_net import ResidualAttentionNet, cifar_stages, imagenet_stages
from gconv_gan.models.classifiers.resnet import PreactResNet, ResNet
from gconv_gan.models.classifiers.sknet import SKNet
from gconv_gan.models.classifiers.vgg import VGG, VGG_DEPTHS
from gconv_gan.models.classifiers.wide_resnet import CIFAR_WIDTHS, FAN_IN, WideResNet

Constructor = partial[Any]  # of a Classifier

BOTTLENECK_WIDTHS = (256, 512, 1024, 2048)

# WRN-d-k for small images: the rows of the paper and three common ones (16-1, 34-10, 70-16)
WIDE_RESNETS: tuple[tuple[int, int], ...] = (
    *((10, 1), (10, 2), (16, 1), (16, 2), (16, 4), (16, 8), (16, 10), (22, 8), (22, 10), (28, 2), (28, 10), (28, 12)),
    *((34, 10), (40, 1), (40, 2), (40, 4), (40, 8), (40, 10), (52, 1), (70, 16)),
)


SCALE_INVARIANT = Parts(norm=partial(BatchNorm2d, affine=False))
"""Norms without scale and shift: the output is a function of the directions of the convolutions' weights and of the head."""

GROUP_SIZES = (8, 16, 32, 64)
SMALL_STRIDES = (1, 2, 2)


def ghost(ratio: int = 2, cheap_kernel_size: int = 3) -> ConvConstructor:
    """Return the constructor of ghost modules that replace a network's convolutions; the network's norms follow them."""
    return partial(GhostModule, ratio=ratio, cheap_kernel_size=cheap_kernel_size)


def _imagenet_resnets() -> dict[str, Constructor]:
    basic = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
    deep = {26: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3), 200: (3, 24, 36, 3)}
    plain = partial(ResNet, widths=BOTTLENECK_WIDTHS, block=bottleneck, norm_after_pooling=True)
    wide = partial(plain, block=partial(bottleneck, width_ratio=0.5))
    resnext = partial(plain, block=partial(bottleneck, width_ratio=0.5, groups=32))
    preact = partial(PreactResNet, widths=BOTTLENECK_WIDTHS, block=preact_bottleneck, stem=bare_imagenet_stem)
    ghosted = {"": 2, "_s4": 4}
    return {
        **{f"resnet{depth}": partial(ResNet, depths=basic[depth], norm_after_pooling=True) for depth in basic},
        **{f"resnet{depth}": partial(plain, depths=deep[depth]) for depth in (50, 101, 152)},
        **{f"wrn_{depth}_2": partial(wide, depths=deep[depth]) for depth in (50, 101)},
        **{
            f"wrn_{depth}_{k}_imagenet": partial(ResNet, depths=basic[depth], widths=(64 * k, 128 * k, 256 * k, 512 * k))
            for depth in basic
            for k in (2, 3)
        },
        **{f"resnext{depth}_32x4d": partial(resnext, depths=deep[depth]) for depth in (50, 101)},
        **{f"seresnext{depth}_32x4d": partial(resnext, depths=deep[depth], parts=Parts(attention=SqueezeExcite)) for depth in (50, 101)},
        **{f"sknet{depth}": partial(SKNet, depths=deep[depth]) for depth in (26, 50, 101)},
        **{f"preact_resnet{depth}": partial(preact, depths=deep[depth]) for depth in (50, 101, 152, 200)},
        **{
            f"ghost_resnet50{suffix}": partial(plain, depths=deep[50], parts=Parts(conv=ghost(ratio), stem_conv=nn.Conv2d))
            for suffix, ratio in ghosted.items()
        },
    }


def _imagenet() -> dict[str, Constructor]:
    small = partial(MobileNetV3, rows=SMALL, feature_dim=1024, parts=HARD_SWISH)
    mgic = partial(MGICMobileNetV3, parts=MGIC_SQUEEZING)
    mgic_small = partial(mgic, rows=MGIC_SMALL, feature_dim=1024)
    attention_next = partial(ResidualAttentionNet, block=partial(bottleneck, width_ratio=0.5, groups=32), preactivation=False)
    modules = {56: (1, 1, 1), 92: (1, 2, 3)}
    return {
        **_imagenet_resnets(),
        **{
            f"vgg{depth}_bn": partial(VGG, depths=depths, hidden=(4096, 4096), pool_size=7, dropout=0.5)
            for depth, depths in VGG_DEPTHS.items()
        },
        "ghostnet_050": partial(GhostNet, width=0.5, parts=SQUEEZING),
        "ghostnet_100": partial(GhostNet, width=1.0, parts=SQUEEZING),
        "ghostnet_130": partial(GhostNet, width=1.3, parts=SQUEEZING),
        "mobilenetv3_large": partial(MobileNetV3, parts=HARD_SWISH),
        "mobilenetv3_small": small,
        **{f"regnetx_{size}": partial(RegNetX, **row._asdict()) for size, row in REGNET_X.items()},
        **{f"g_ghost_regnetx_{size}": partial(RegNetX, **row._asdict(), ghost_ratio=0.5, dropout=0.2) for size, row in REGNET_X.items()},
        **{f"attention_{depth}": partial(ResidualAttentionNet, stages=imagenet_stages(m)) for depth, m in modules.items()},
        **{f"attention_next_{depth}": partial(attention_next, stages=imagenet_stages(m)) for depth, m in modules.items()},
        **{f"mgic_mobilenetv3_large_g{size}": partial(mgic, group_size=size) for size in GROUP_SIZES},
        **{f"mgic_mobilenetv3_small_g{size}": partial(mgic_small, group_size=size) for size in GROUP_SIZES},
    }


def _cifar_resnets() -> dict[str, Constructor]:
    small = partial(
        ResNet,
        widths=CIFAR_WIDTHS,
        strides=SMALL_STRIDES,
        block=partial(basic_block, shortcut=zero_pad_shortcut),
        stem=cifar_stem,
        stem_width=CIFAR_WIDTHS[0],
    )
    preact = partial(PreactResNet, strides=SMALL_STRIDES, stem_width=CIFAR_WIDTHS[0])
    resnext = partial(ResNet, depths=(3, 3, 3), widths=(256, 512, 1024), strides=SMALL_STRIDES, stem=cifar_stem)
    sknet29 = partial(SKNet, depths=(3, 3, 3), widths=(256, 512, 1024), width_ratio=2.0, strides=SMALL_STRIDES, stem=cifar_stem)
    return {
        **{f"resnet{depth}": partial(small, depths=((depth - 2) // 6,) * 3) for depth in (20, 32, 44, 56, 110)},
        "ghost_resnet56": partial(small, depths=(9, 9, 9), parts=Parts(conv=ghost(cheap_kernel_size=1))),
        "ghost_resnet56_d3": partial(small, depths=(9, 9, 9), parts=Parts(conv=ghost())),
        "resnet18_cifar": partial(ResNet, depths=(2, 2, 2, 2), stem=cifar_stem),
        "resnet34_cifar": partial(ResNet, depths=(3, 4, 6, 3), stem=cifar_stem),
        "resnet50_cifar": partial(ResNet, depths=(3, 4, 6, 3), widths=BOTTLENECK_WIDTHS, block=bottleneck, stem=cifar_stem),
        "preact_resnet18_cifar": partial(PreactResNet, depths=(2, 2, 2, 2)),
        "preact_resnet34_cifar": partial(PreactResNet, depths=(3, 4, 6, 3)),
        "resnet18_si": partial(
            PreactResNet, depths=(2, 2, 2, 2), block=partial(preact_basic_block, projection_norm=True), parts=SCALE_INVARIANT
        ),
        **{
            f"preact_resnet{depth}": partial(preact, depths=((depth - 2) // 6,) * 3, widths=CIFAR_WIDTHS, block=preact_basic_block)
            for depth in (56, 110)
        },
        **{
            f"preact_resnet{depth}": partial(preact, depths=((depth - 2) // 9,) * 3, widths=(64, 128, 256), block=preact_bottleneck)
            for depth in (164, 1001)
        },
        **{
            f"resnext29_{groups}x{width}d": partial(resnext, block=partial(bottleneck, width_ratio=groups * width / 256, groups=groups))
            for groups, width in ((32, 4), (16, 64), (8, 64), (16, 32))
        },
        "sknet29": partial(sknet29, norm_after_pooling=False),
    }


def _cifar() -> dict[str, Constructor]:
    vgg16 = partial(VGG, depths=VGG_DEPTHS[16])
    ghost_vgg16 = {"": (2, 3), "_s3": (3, 3), "_s4": (4, 3), "_s5": (5, 3), "_d1": (2, 1), "_d5": (2, 5), "_d7": (2, 7)}
    attention = partial(ResidualAttentionNet, stem=bare_cifar_stem, stem_width=16)
    mgic = {
        "mgic_resnet16": ((1, 2, 2, 2), (32, 64, 128, 256)),
        "mgic_resnet18": ((2, 2, 2, 2), (64, 128, 256, 512)),
        "mgic_resnet18_wide": ((2, 2, 2, 2), (128, 256, 512, 1024)),
        "mgic_resnet34": ((3, 4, 6, 3), (64, 128, 256, 512)),
    }
    return {
        **{f"wrn_{depth}_{width}": partial(WideResNet, depth=depth, width=width, parts=FAN_IN) for depth, width in WIDE_RESNETS},
        **_cifar_resnets(),
        **{f"vgg{depth}_cifar": partial(VGG, depths=depths) for depth, depths in VGG_DEPTHS.items()},
        **{f"ghost_vgg16{suffix}": partial(vgg16, parts=Parts(conv=ghost(*config))) for suffix, config in ghost_vgg16.items()},
        "ghostnet_100_cifar": partial(GhostNet, stem_stride=1, strides=(1, 1, 2, 2, 2), parts=SQUEEZING),
        **{f"attention_{36 * m + 20}_cifar": partial(attention, stages=cifar_stages(m)) for m in (1, 2, 3, 4, 6)},
        "attention_452_cifar": partial(attention, stages=cifar_stages(6), pre_units=2, trunk_units=4, mask_units=3, bottom_units=3),
        **{
            f"{name}_g{size}": partial(MGICResNet, depths=depths, widths=widths, group_size=size)
            for name, (depths, widths) in mgic.items()
            for size in GROUP_SIZES
        },
        "convnet": partial(ConvNet),
        "convnet_si": partial(ConvNet, parts=SCALE_INVARIANT),
        "plain_net": partial(PlainNet, parts=PLAIN),
        "elu_net_18": partial(ELUNet, stacks=ELU_18, parts=ELU),
        "elu_net_11": partial(ELUNet, stacks=ELU_11, parts=ELU),
    }


CIFAR: dict[str, Constructor] = _cifar()
"""Networks for 32×32 images (any size that their strides divide), by default of 10 classes."""

IMAGENET: dict[str, Constructor] = _imagenet()
"""Networks for 224×224 images, by default of 1000 classes."""

CLASSIFIERS: dict[str, Constructor] = {**CIFAR, **IMAGENET}

PARTS = tuple(field.name for field in fields(Parts))


def build_classifier(name: str, *, num_classes: int | None = None, image_size: int | None = None, **swaps: Any) -> Classifier:
    """Return the named network, initialised from torch's global random state.

    Args:
        name: a key of ``CLASSIFIERS``.
        num_classes: number of logits; None: 10, or 1000 for a network of ``IMAGENET``.
        image_size: side of the images; None: 32, or 224 for a network of ``IMAGENET``. The layers do not depend on it.
        swaps: parts to exchange (``conv``, ``stem_conv``, ``norm``, ``activation``, ``attention``, ``order``, ``fan``: see
            ``Parts``), and keyword arguments of the network's class (``dropout``, ``widths``, …).

    Raises:
        ValueError: for an unknown name, a number of classes or a size below 1, or arguments that the network does not support.
        TypeError: for a keyword that the network's class does not take.

    """
    if name not in CLASSIFIERS:
        near = difflib.get_close_matches(name, CLASSIFIERS, n=3) or [known for known in sorted(CLASSIFIERS) if name.lower() in known]
        more = f" (or one of {len(near) - 5} others)" if len(near) > 5 else ""
        hint = f"did you mean {' or '.join(near[:5])}{more}? " if near else ""
        raise ValueError(f"there is no classifier {name!r}; {hint}gconv-gan layers lists all {len(CLASSIFIERS)}")
    num_classes = default_classes(name) if num_classes is None else num_classes
    image_size = default_size(name) if image_size is None else image_size
    if num_classes < 1 or image_size < 1:
        raise ValueError(f"num_classes and image_size must be positive, not {num_classes} and {image_size}")
    constructor = CLASSIFIERS[name]
    parts: Parts = constructor.keywords.get("parts", STANDARD)
    parts = replace(parts, **{key: swaps.pop(key) for key in PARTS if key in swaps})
    network: Classifier = constructor(num_classes=num_classes, parts=parts, **swaps)
    network.image_size = image_size
    return network


def default_size(name: str) -> int:
    """Return the side of the images that the named network is defined for."""
    return 224 if name in IMAGENET else 32


def default_classes(name: str) -> int:
    """Return the number of classes of the data set that the named network is defined for."""
    return 1000 if name in IMAGENET else 10
