"""Exact sizes of every named classifier, computed on the meta device, and the meaning of names."""

from functools import partial

import pytest
import timm
import torch
from torch import nn

from gconv_gan.layers.blocks.ghost import GhostModule
from gconv_gan.models.classifiers.named import CLASSIFIERS, build_classifier, default_size
from gconv_gan.models.summary import summarise_classifier
from tests.reference.classifier_sizes import SIZES, VARIANTS


def count(name: str, **options: object) -> tuple[int, int]:
    rows = summarise_classifier(name, **options)
    return sum(row.parameters for row in rows), sum(row.macs for row in rows)


def check(counted: tuple[int, int], parameters: int, macs: int | None) -> None:
    assert counted == (parameters, counted[1] if macs is None else macs)


@pytest.mark.parametrize("name", SIZES)
def test_exact_parameters_and_macs(name: str) -> None:
    check(count(name), *SIZES[name])


@pytest.mark.parametrize(("name", "classes", "options", "parameters", "macs"), VARIANTS)
def test_exact_sizes_of_variants(name: str, classes: int, options: dict[str, int], parameters: int, macs: int | None) -> None:
    check(count(name, num_classes=classes, **options), parameters, macs)


FIRST_PLAIN = {
    "ghost_vgg16": (7_651_050, 158_699_520),
    "ghost_vgg16_s3": (5_219_178, 107_995_752),
    "ghost_vgg16_s4": (3_983_226, 81_317_376),
    "ghost_vgg16_s5": (3_270_534, 66_596_112),
    "ghost_vgg16_d1": (7_634_410, 157_855_744),
    "ghost_vgg16_d5": (7_684_330, 160_387_072),
    "ghost_vgg16_d7": (7_734_250, 162_918_400),
    "ghost_resnet56": (430_090, 63_222_400),
    "ghost_resnet56_d3": (438_154, 65_286_784),
}


@pytest.mark.parametrize("name", FIRST_PLAIN)
def test_exact_sizes_with_the_first_convolution_left_plain(name: str) -> None:
    assert count(name, stem_conv=nn.Conv2d) == FIRST_PLAIN[name]


def test_exact_sizes_of_further_rows() -> None:
    assert count("vgg16_cifar", hidden=()) == (14_724_042, 313_201_664)
    for suffix, cheapest, parameters, macs in (("", 2, 13_847_528, 2_109_778_688), ("_s4", 4, 7_992_776, 1_120_075_904)):
        assert count(f"ghost_resnet50{suffix}", conv=partial(GhostModule, ratio=cheapest, cheap_kernel_size=1)) == (parameters, macs)


def sizes_of(oracle: nn.Module) -> int:
    return sum(p.numel() for p in oracle.parameters())


@pytest.mark.parametrize(
    ("name", "oracle"),
    [
        ("resnet34", "resnet34"),
        ("resnet101", "resnet101"),
        ("resnet152", "resnet152"),
        ("resnext101_32x4d", "resnext101_32x4d"),
        ("seresnext101_32x4d", "seresnext101_32x4d"),
        ("preact_resnet50", "resnetv2_50"),
        ("preact_resnet101", "resnetv2_101"),
        ("preact_resnet152", "resnetv2_152"),
        ("regnetx_032", "regnetx_032"),
        ("regnetx_320", "regnetx_320"),
    ],
)
def test_parameters_equal_timms(name: str, oracle: str) -> None:
    with torch.device("meta"):
        assert sizes_of(build_classifier(name)) == sizes_of(timm.create_model(oracle))


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"no classifier 'wrn_16_5'; did you mean wrn_16_\d"):
        build_classifier("wrn_16_5")
    with pytest.raises(ValueError, match="lists all"):
        build_classifier("?")


def test_image_size_is_the_tables_unless_given() -> None:
    with torch.device("meta"):
        assert [build_classifier(n).image_size for n in ("wrn_10_1", "resnet18")] == [32, 224]
        assert build_classifier("wrn_10_1", image_size=64).image_size == 64
    assert {default_size(name) for name in CLASSIFIERS} == {32, 224}
