"""Every image classifier by name. ``build_classifier`` builds one, with any of its parts swapped."""

import difflib
from dataclasses import fields, replace
from functools import partial
from typing import Any

from gconv_gan.layers.parts import STANDARD, Parts
from gconv_gan.layers.residual import basic_block, bottleneck, preact_basic_block, preact_bottleneck, zero_pad_shortcut
from gconv_gan.layers.squeeze_excite import SqueezeExcite
from gconv_gan.models.classifier import Classifier
from gconv_gan.models.resnet import PreactResNet, ResNet
from gconv_gan.models.stems import bare_imagenet_stem, cifar_stem
from gconv_gan.models.wide_resnet import FAN_IN, WideResNet

Constructor = partial[Any]  # of a Classifier

BOTTLENECK_WIDTHS = (256, 512, 1024, 2048)

# WRN-d-k for small images: the rows of the paper and three common ones (16-1, 34-10, 70-16)
WIDE_RESNETS: tuple[tuple[int, int], ...] = (
    *((10, 1), (10, 2), (16, 1), (16, 2), (16, 4), (16, 8), (16, 10), (22, 8), (22, 10), (28, 2), (28, 10), (28, 12)),
    *((34, 10), (40, 1), (40, 2), (40, 4), (40, 8), (40, 10), (52, 1), (70, 16)),
)


def _imagenet_resnets() -> dict[str, Constructor]:
    basic = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
    deep = {26: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3), 200: (3, 24, 36, 3)}
    plain = partial(ResNet, widths=BOTTLENECK_WIDTHS, block=bottleneck, norm_after_pooling=True)
    wide = partial(plain, block=partial(bottleneck, width_ratio=0.5))
    resnext = partial(plain, block=partial(bottleneck, width_ratio=0.5, groups=32))
    preact = partial(PreactResNet, widths=BOTTLENECK_WIDTHS, block=preact_bottleneck, stem=bare_imagenet_stem)
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
        **{f"preact_resnet{depth}": partial(preact, depths=deep[depth]) for depth in (50, 101, 152, 200)},
    }


def _cifar_resnets() -> dict[str, Constructor]:
    small = partial(
        ResNet,
        widths=(16, 32, 64),
        strides=(1, 2, 2),
        block=partial(basic_block, shortcut=zero_pad_shortcut),
        stem=cifar_stem,
        stem_width=16,
    )
    preact = partial(PreactResNet, strides=(1, 2, 2), stem_width=16)
    resnext = partial(ResNet, depths=(3, 3, 3), widths=(256, 512, 1024), strides=(1, 2, 2), stem=cifar_stem)
    return {
        **{f"resnet{depth}": partial(small, depths=((depth - 2) // 6,) * 3) for depth in (20, 32, 44, 56, 110)},
        "resnet18_cifar": partial(ResNet, depths=(2, 2, 2, 2), stem=cifar_stem),
        "resnet34_cifar": partial(ResNet, depths=(3, 4, 6, 3), stem=cifar_stem),
        "resnet50_cifar": partial(ResNet, depths=(3, 4, 6, 3), widths=BOTTLENECK_WIDTHS, block=bottleneck, stem=cifar_stem),
        "preact_resnet18_cifar": partial(PreactResNet, depths=(2, 2, 2, 2)),
        "preact_resnet34_cifar": partial(PreactResNet, depths=(3, 4, 6, 3)),
        **{
            f"preact_resnet{depth}": partial(preact, depths=((depth - 2) // 6,) * 3, widths=(16, 32, 64), block=preact_basic_block)
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
    }


CIFAR: dict[str, Constructor] = {
    **{f"wrn_{depth}_{width}": partial(WideResNet, depth=depth, width=width, parts=FAN_IN) for depth, width in WIDE_RESNETS},
    **_cifar_resnets(),
}
"""Networks for 32×32 images (any size their strides divide), 10 classes unless told otherwise."""

IMAGENET: dict[str, Constructor] = {**_imagenet_resnets()}
"""Networks for 224×224 images, 1000 classes unless told otherwise."""

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
        ValueError: for an unknown name, or what the network refuses.
        TypeError: for a keyword that the network's class does not take.

    """
    if name not in CLASSIFIERS:
        near = difflib.get_close_matches(name, CLASSIFIERS, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(sorted(CLASSIFIERS))}"
        raise ValueError(f"there is no classifier {name!r}: {hint}")
    constructor = CLASSIFIERS[name]
    parts: Parts = constructor.keywords.get("parts", STANDARD)
    parts = replace(parts, **{key: swaps.pop(key) for key in PARTS if key in swaps})
    network: Classifier = constructor(num_classes=num_classes or default_classes(name), parts=parts, **swaps)
    network.image_size = image_size or default_size(name)
    return network


def default_size(name: str) -> int:
    """Return the side of the images that the named network is defined for."""
    return 224 if name in IMAGENET else 32


def default_classes(name: str) -> int:
    """Return the number of classes of the data set that the named network is defined for."""
    return 1000 if name in IMAGENET else 10
